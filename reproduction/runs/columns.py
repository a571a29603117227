"""The columns of measurements, and the names that they had in runs of earlier versions."""

from __future__ import annotations

from typing import Any

from modules_lib.datasets.images import CLASSES

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


def with_names_of_today(row: dict[str, Any]) -> dict[str, Any]:
    """Rename the columns of a stored measurement: ``bin`` once was also a number of actions, or of a class."""
    if row.get("bin") is None or row["metric"] not in ("confusion", "correct by length"):
        return row
    named = {name: value for name, value in row.items() if name != "bin"}
    if row["metric"] == "confusion":
        return named | {"predicted": CLASSES[int(row["bin"])]}
    return named | {"length": row["bin"]}
