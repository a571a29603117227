"""Figures of the masks of any network's tasks: the weights that each keeps and shares, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from itertools import cycle
from operator import or_

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.compare import by_layer, sharing_matrix
from modules_lib.analysis.theme import (
    AMBER,
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    GROUPS,
    ORANGE,
    PURPLE,
    SEQUENTIAL,
    SKY,
    WINE,
    menu,
    panels,
    style,
)
from modules_lib.masking.masks import Masks

OTHERS = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, WINE, GREY)  # of tasks that have no colour in this book
WIDTH = 18  # characters of a layer's name in a line: a phone has no room for more
ALL = "all layers"


def kept_and_shared(masks: Mapping[str, Masks], layers: Mapping[str, str] | None = None) -> go.Figure:
    """Draw two panels of bars, a group a layer: the weights that a task keeps, and those that others use too.

    Both are in per cent; black lines mark the sharing of masks with as many weights placed at random.

    Args:
        masks: at least two tasks', of one model.
        layers: masked parameter -> what to call it, from input to output; those of one name are counted together. By
            default every masked parameter has its own bars.

    Raises:
        ValueError: there are fewer than two tasks, there is no layer, or the masks lack one of them.
    """
    parts = _parts(masks, layers)
    table = pd.concat([_row(part).assign(layer=_broken(label)) for label, part in parts.items()])
    figure = panels(("kept [%]", "shared [%]"), columns=2, shared_yaxes=True, horizontal_spacing=0.06)
    for (task, rows), colour in zip(table.groupby("task", sort=False), _colours(masks), strict=True):
        common = {"y": rows["layer"], "orientation": "h", "offsetgroup": task, "legendgroup": task}
        bars = common | {"name": task, "marker_color": colour}
        counts = [f"{kept:,} of {of:,} weights" for kept, of in zip(rows["kept"], rows["of"], strict=True)]
        hover = "<b>%{y}</b><br>%{x:.1f} [%] "
        figure.add_bar(
            **bars, x=100 * rows["kept"] / rows["of"], customdata=counts, hovertemplate=hover + "kept: %{customdata}"
        )
        figure.add_bar(**bars, x=100 * rows["sharing"], hovertemplate=hover + "shared", showlegend=False, row=1, col=2)
        figure.add_traces(_lines(100 * rows["chance"], common), 1, 2)
    black = {"symbol": "line-ns", "size": 11, "color": GREY, "line": {"width": 2.5, "color": GREY}}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker=black, name="shared by chance")
    figure.update_yaxes(autorange="reversed", ticklabelstandoff=4, showgrid=False)
    figure.update_xaxes(rangemode="tozero").update_xaxes(range=[0, 104], row=1, col=2)
    lines = max(label.count("<br>") + 1 for label in table["layer"])
    height = 130 + len(parts) * max(16 * len(masks) + 14, 17 * lines + 6)
    legend = {"orientation": "h", "x": 0, "y": -45 / (height - 90), "yanchor": "top"}
    return style(figure, height, margin={"l": 20, "r": 20, "t": 30, "b": 60}, legend=legend, **GROUPS)


def matrix(masks: Mapping[str, Masks], layers: Mapping[str, str] | None = None) -> go.Figure:
    """Draw the part of each task's weights (rows) that every other uses too (columns) [%], with a menu of layers.

    Args:
        masks, layers: as for :func:`kept_and_shared`.

    Raises:
        ValueError: as for :func:`kept_and_shared`.
    """
    choices = []
    for label, part in {ALL: dict(masks), **_parts(masks, layers)}.items():
        shared = (100 * sharing_matrix(part)).round(2)
        text = [["" if math.isnan(value) else f"{value:.0f}" for value in row] for row in shared.to_numpy()]
        choices.append((label, {"z": [shared.to_numpy().tolist()], "text": [text]}, {"title.text": label}))
    first = {name: value for name, [value] in choices[0][1].items()}
    figure = go.Figure(go.Heatmap(**first, x=list(masks), y=list(masks), texttemplate="%{text}"))
    figure.update_traces(colorscale=SEQUENTIAL, zmin=0, zmax=100, showscale=False)
    figure.update_traces(hovertemplate="of the weights of %{y},<br>%{x} uses %{z:.1f} %<extra></extra>")
    figure.update_yaxes(autorange="reversed", title="of the weights of", automargin=True)
    figure.update_xaxes(title={"text": "are used by [%]", "standoff": 8})
    corner = {"x": 1, "xanchor": "right", "xref": "paper", "y": 0.97, "yanchor": "top"}
    title = corner | {"text": ALL, "font": {"size": 13}}
    return style(figure, 190 + max(170, 45 * len(masks)), updatemenus=[menu(choices)], title=title, margin={"t": 60})


def _parts(masks: Mapping[str, Masks], layers: Mapping[str, str] | None) -> dict[str, dict[str, Masks]]:
    """The tasks' masks of each layer, which may be several tensors."""
    if len(masks) < 2:
        raise ValueError(
            f"Sharing needs the masks of two tasks or more; there are those of {', '.join(masks) or 'none'}."
        )
    first = next(iter(masks.values()))
    layers = {name: name.removesuffix(".weight") for name in first} if layers is None else layers
    if not layers:
        raise ValueError("layers is empty; name at least one masked parameter to draw, or give None for all.")
    for name in layers:
        first.count(name)  # refuses a name that there is not
    tensors = {label: [name for name in layers if layers[name] == label] for label in layers.values()}
    return {
        label: {task: Masks({name: own[name] for name in names}) for task, own in masks.items()}
        for label, names in tensors.items()
    }


def _row(part: Mapping[str, Masks]) -> pd.DataFrame:
    """A row a task: totals of :func:`~modules_lib.analysis.compare.by_layer`, and the sharing that is due to chance."""
    table = by_layer(part).query("layer == 'total'")
    return table.assign(chance=[_chance(part, task) for task in table["task"]])


def _chance(part: Mapping[str, Masks], task: str) -> float:
    """The mean of sharing if each tensor's weights were placed at random."""
    others = reduce(or_, (masks for name, masks in part.items() if name != task))
    own = part[task]
    return sum(own.count(name) * others.kept(name) for name in own) / own.count() if own.count() else math.nan


def _lines(values: pd.Series, common: Mapping[str, object]) -> list[go.Scatter]:
    """A level for every bar: black, on a white line that makes it visible in the dark theme."""
    lines = [
        go.Scatter(common, x=values, mode="markers", marker={"symbol": "line-ns", "size": 11, "line": line})
        for line in ({"width": 4.5, "color": "white"}, {"width": 2.5, "color": "black"})
    ]
    hover = "<b>%{y}</b><br>%{x:.1f} [%] by chance<extra></extra>"
    return [lines[0].update(hoverinfo="skip", showlegend=False), lines[1].update(hovertemplate=hover, showlegend=False)]


def _colours(tasks: Mapping[str, Masks]) -> list[str]:
    """The book's colour of a task that it knows; for others the next that is free."""
    known = {task: COLOURS[task] for task in tasks if task in COLOURS}
    free = cycle([colour for colour in OTHERS if colour not in known.values()])
    return [known[task] if task in known else next(free) for task in tasks]


def _broken(name: str) -> str:
    """A layer's name in lines of a width that a phone has room for, broken at its dots."""
    lines = [""]
    for i, piece in enumerate(name.split(".")):
        piece = f".{piece}" if i else piece
        if lines[-1] and len(lines[-1] + piece) > WIDTH:
            lines.append("")
        lines[-1] += piece
    return "<br>".join(lines)
