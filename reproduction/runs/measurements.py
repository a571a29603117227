"""Measurements: their columns, the names that these had in earlier versions, and the form in which they are stored.

Stored, measurements that differ in one column alone, like a curve or a histogram, are one row: with a list of values,
and a list in that column. Whole numbers that follow one another are written as ranges, ``"0-37,39"``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from modules_lib.datasets.images import CLASSES
from modules_lib.training.progress import Rows

# Columns from "step" to "predicted" are filled where they apply: the steps made before, the part of [0, 1] that a
# probability is in, the number of actions of a command, the class that an image is taken for.
COLUMNS = (
    "experiment",
    "config",
    "seed",
    "stage",
    "layer",
    "task",
    "metric",
    "step",
    "bin",
    "length",
    "predicted",
    "value",
)
# A row belongs to the series of the first of these that it has.
SERIES = ("step", "bin", "length", "predicted", "layer", "task")
COUNTED = ("bin", "length")  # columns of whole numbers, most of which follow one another
NUMBERS = ("seed", "step", *COUNTED)


def with_names_of_today(row: dict[str, Any]) -> dict[str, Any]:
    """Rename the columns of a stored measurement: ``bin`` once was also a number of actions, or of a class."""
    if row.get("bin") is None or row["metric"] not in ("confusion", "correct by length"):
        return row
    named = {name: value for name, value in row.items() if name != "bin"}
    if row["metric"] == "confusion":
        return named | {"predicted": CLASSES[int(row["bin"])]}
    return named | {"length": row["bin"]}


def packed(rows: Iterable[dict[str, Any]]) -> Rows:
    """Put the measurements of each series into one row, in the place of the first; one that is nan becomes None."""
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        column = next((name for name in SERIES if row.get(name) is not None), None)
        common = {name: value for name, value in row.items() if name not in (column, "value")}
        series = found.setdefault((column, *common.items()), common | {column or "": [], "value": []})
        series[column or ""].append(row.get(column or ""))
        value = row["value"]
        series["value"].append(None if isinstance(value, float) and math.isnan(value) else value)  # JSON has no nan
    return [_written(row) for row in found.values()]


def unpacked(rows: Iterable[dict[str, Any]]) -> Rows:
    """Make the measurements of :func:`packed` rows single again; rows that are single stay as they are."""
    single: Rows = []
    for row in rows:
        if isinstance(row["value"], list):
            column, places = _places(row)
            named = [{column: place} for place in places] if column else [{}] * len(row["value"])
            single += [row | name | {"value": value} for name, value in zip(named, row["value"], strict=True)]
        else:
            single.append(row)
    return single


def tabulated(runs: Iterable[tuple[dict[str, Any], Sequence[dict[str, Any]]]]) -> pd.DataFrame:
    """Tabulate :func:`packed` or single rows, one measurement a row, without making them :func:`unpacked` first.

    Stored rows are turned into columns, and these are repeated: most measurements differ from the one before in a
    value and a place alone, and a table of ten thousand runs has 27 million.

    Args:
        runs: of each, the columns that have one value in the whole run, and its rows.

    Returns:
        a table with the columns COLUMNS: texts are categories, all others numbers.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS if name != "value"}
    series: list[int] = []  # the place in SERIES of the column in which a row's measurements differ, or -1
    lengths: list[int] = []
    values: list[np.ndarray] = []  # of a run each: many small objects would keep Python's garbage collector busy
    places: dict[str, list[Any]] = {name: [] for name in columns}
    for about, rows in runs:
        of_run: list[Any] = []
        for row in rows:
            found = row["value"] if isinstance(row["value"], list) else [row["value"]]
            of_run += found
            lengths.append(len(found))
            column, where = _places(row)
            series.append(SERIES.index(column) if column else -1)
            if column:
                places[column] += [np.asarray(where, float)] if column in NUMBERS else where
                row = row | {column: None}
            for name in columns.keys() - about.keys():
                columns[name].append(row.get(name))
        for name, value in about.items():
            columns[name] += [value] * len(rows)
        values.append(np.asarray(of_run, float))
    frame = _repeated(columns, places, np.repeat(np.array(series, np.int8), lengths), lengths)
    return frame.assign(value=np.concatenate(values) if values else np.empty(0))


def _repeated(
    columns: dict[str, list[Any]], places: dict[str, list[Any]], of_series: np.ndarray, lengths: list[int]
) -> pd.DataFrame:
    """Repeat stored rows, in columns, as often as they have measurements, and put each in the place of its own."""
    types = {name: _type(name, stored, places[name]) for name, stored in columns.items()}
    frame = pd.DataFrame({name: pd.Series(stored, dtype=types[name]) for name, stored in columns.items()})
    frame = frame.take(np.repeat(np.arange(len(frame)), lengths)).reset_index(drop=True)
    for number, name in enumerate(SERIES):
        if places[name]:
            where = of_series == number
            frame.loc[where, name] = (
                np.concatenate(places[name]) if name in NUMBERS else pd.Categorical(places[name], dtype=types[name])
            )
    return frame


def _type(column: str, *values: Iterable[Any]) -> str | pd.CategoricalDtype:
    """The type of a column's values in a table."""
    if column in NUMBERS:
        return "int64" if column == "seed" else "float64"
    return pd.CategoricalDtype(sorted(set().union(*values) - {None}))


def _places(row: dict[str, Any]) -> tuple[str | None, list[Any]]:
    """The column in which the measurements of a row differ, and its values; none where they are one."""
    if isinstance(row["value"], list):
        for column in SERIES:
            if _is_series(column, row.get(column)):
                return column, _read(row[column])
    return None, []


def _is_series(name: str, value: Any) -> bool:
    return isinstance(value, list) or (name in COUNTED and isinstance(value, str))


def _written(series: dict[str, Any]) -> dict[str, Any]:
    series.pop("", None)
    for name in COUNTED:
        if isinstance(series.get(name), list):
            series[name] = _ranges(series[name])
    return series


def _ranges(numbers: list[int]) -> str:
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _read(places: Any) -> list[Any]:
    """A column's values, of which whole numbers may be written as ranges."""
    if not isinstance(places, str):
        return places
    numbers: list[Any] = []
    for part in places.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers
