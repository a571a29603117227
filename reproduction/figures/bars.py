"""Bars of published results with the run just made in front of them, for several chapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import COLOURS, GREY, GROUPS, count, panels, style
from reproduction.figures.names import Results
from reproduction.runs.measures import by_layer, chance, outcome, plus_minus, spread

PUBLISHED, RUN = "published", "this run"


class Measure(NamedTuple):
    """A measurement by layer, and how it is written."""

    metric: str
    factor: float
    unit: str
    digits: int


SHARED = Measure("sharing", 100, "shared [%]", 1)
KEPT = Measure("kept", 1, "weights kept", 0)


def per_layer(
    published: Results, run: Results, names: Mapping[str, str], tasks: Mapping[str, str], measure: Measure
) -> go.Figure:
    """Draw one panel a network, one group of bars a layer, one bar a task.

    Args:
        published, run: results by network.
        names, tasks: networks and tasks -> their names in the figure.
        measure: the measurement to show.
    """
    networks, figure = _panels(published, run, names)
    unit, digits = measure.unit, measure.digits
    for row, network in enumerate(networks, 1):
        for task, name in tasks.items():
            for kind, frame in both(network, published, run):
                values = measure.factor * by_layer(frame, task, measure.metric).drop(columns="total")
                figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[task], unit, digits), row=row, col=1)
    figure.update_yaxes(title=unit)
    figure.update_xaxes(title={"text": "layer", "standoff": 5}, row=len(networks), col=1)
    return style(figure, 300 * len(networks) + 60, **GROUPS)


def _panels(published: Results, run: Results, names: Mapping[str, str]) -> tuple[list[str], go.Figure]:
    """The networks that there are results of, and a figure with a panel for each, one below the other."""
    networks = shown(published, run, names)
    gap = 0.32 / max(2, len(networks))
    return networks, panels([names[network] for network in networks], vertical_spacing=gap)


def sharing(published: Results, run: Results, names: Mapping[str, str], tasks: Mapping[str, str]) -> go.Figure:
    """Draw the share of each of two tasks' weights that the other uses too, by layer [%]; black lines mark chance."""
    figure = per_layer(published, run, names, tasks, SHARED)
    for row, network in enumerate(shown(published, run, names), 1):
        if PUBLISHED in dict(both(network, published, {})):
            for task in tasks:
                [other] = [other for other in tasks if other != task]  # chance is that of one other task
                values = 100 * chance(published[network], other).drop(columns="total")
                figure.add_traces(lines_on_bars(values, tasks[task], "by chance"), rows=row, cols=1)
    return one_legend_entry_each(figure).update_yaxes(range=[0, 104])


def shown(published: Results, run: Results, names: Mapping[str, str]) -> list[str]:
    """List the networks that there are results of."""
    return [network for network in names if network in run or network in published]


def both(network: str, published: Results, run: Results) -> list[tuple[str, pd.DataFrame]]:
    """List the results of a network by their kind: ("published", its results), ("this run", its results)."""
    sides = [(kind, results[network]) for kind, results in ((PUBLISHED, published), (RUN, run)) if network in results]
    return [(kind, frame) for kind, frame in sides if not frame.empty]


def bar_or_diamond(values: pd.DataFrame, kind: str, name: str, colour: str, unit: str, digits: int) -> go.Bar:
    """Draw means over seeds, published as bars, the run's as diamonds in front, with deviations and details to hover.

    Args:
        values: seeds in rows, places on the x axis in columns.
    """
    summary = spread(values)
    source = f"{kind}, {count(len(values), 'seed')}"
    common = {
        "x": list(summary.index),
        "y": summary["mean"],
        "error_y": error_bars(summary["deviation"]),
        "name": name,
        "legendgroup": name,
        "offsetgroup": name,
        "customdata": [plus_minus(mean, deviation, digits) for mean, deviation in summary.to_numpy()],
        "hovertemplate": f"<b>%{{x}}</b><br>%{{customdata}} {unit}<extra>{name}, {source}</extra>",
        "meta": {"source": source},
    }
    if kind == PUBLISHED:
        return go.Bar(**common, marker_color=colour, opacity=0.85)
    marker = {"symbol": "diamond", "size": 9, "color": colour, "line": {"color": "white", "width": 1.5}}
    return go.Scatter(**common, mode="markers", marker=marker, cliponaxis=False)


def error_bars(deviations: pd.Series) -> dict[str, object]:
    """Make error bars of deviations over seeds; one seed has neither bar nor caps."""
    visible = bool(deviations.notna().any())
    return {"type": "data", "array": deviations.fillna(0), "visible": visible, "thickness": 1.2, "width": 3}


def lines_on_bars(values: pd.DataFrame, group: str, name: str) -> list[go.Scatter]:
    """Draw a level for every bar of a group: black, on a white line that makes it visible in the dark theme."""
    common = {"x": list(values.columns), "y": values.mean(), "mode": "markers", "offsetgroup": group}
    hover = f"<b>%{{x}}</b>, {group}<br>%{{y:.1f}} [%] {name}<extra></extra>"
    marker = {"symbol": "line-ew", "size": 13}
    below = go.Scatter(**common, name="", marker=marker | {"line": {"width": 4.5, "color": "white"}}, hoverinfo="skip")
    above = go.Scatter(**common, name=name, marker=marker | {"line": {"width": 2.5, "color": "black"}})
    above.meta = {"of": group}
    return [below.update(legendgroup=name), above.update(legendgroup=name, hovertemplate=hover)]


def one_legend_entry_each(figure: go.Figure) -> go.Figure:
    """Let the first trace of every name stand for all of them, and a grey diamond for the run's."""
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = bool(trace.name) and trace.name not in seen
        seen.add(trace.name)
    marker = {"symbol": "diamond", "size": 10, "color": GREY}
    if any(trace.type == "scatter" and trace.marker.symbol == "diamond" for trace in figure.data):
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=RUN, showlegend=True))
    return figure


def accuracy_panels(
    published: Results, run: Results, names: Mapping[str, str], tasks: Mapping[str, str], masks: Mapping[str, str]
) -> go.Figure:
    """Draw one panel a network: accuracy on each task under every mask, in per cent."""
    networks, figure = _panels(published, run, names)
    for row, network in enumerate(networks, 1):
        for task, name in tasks.items():
            for kind, frame in both(network, published, run):
                values = pd.DataFrame({label: 100 * outcome(frame, stage, task) for stage, label in masks.items()})
                figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[task], "% correct", 1), row=row, col=1)
    figure.update_yaxes(title="correct [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "mask", "standoff": 5}, row=len(networks), col=1)
    style(figure, 240 * len(networks) + 90, **GROUPS)
    return one_legend_entry_each(figure)
