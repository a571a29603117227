"""The figures of section 3.1 and appendix C: addition and multiplication.

Every function takes the published results and those of the run just made, as tables by network
(:func:`modules_lib.results.table`), and shows both: published as bars, the run as diamonds.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from modules_lib.figures.theme import (
    COLOURS,
    DIVERGING,
    GREY,
    MASKS,
    SEQUENTIAL,
    Results,
    buttons,
    count,
    style,
)
from modules_lib.measures import NETWORKS, TASKS, by_layer, chance, outcome, plus_minus, spread

PUBLISHED, RUN = "published", "this run"
OUTCOMES = {"add": "sum", "mul": "product", "none": "neither"}


def sharing_per_layer(published: Results, run: Results) -> go.Figure:
    """Figure 1: the share of each operation's weights that the other uses too, by layer, in per cent.

    Black lines mark the sharing to expect by chance, from the published runs.
    """
    figure = _per_layer(published, run, "sharing", 100, "shared [%]", 1)
    for row, network in enumerate(_networks(published, run), 1):
        if PUBLISHED in dict(_both(network, published, {})):
            for task, other in (("add", "mul"), ("mul", "add")):
                values = 100 * chance(published[network], other).drop(columns="total")
                figure.add_trace(_line_on_bar(values, TASKS[task], "by chance"), row=row, col=1)
    return _one_legend_entry_each(figure).update_yaxes(range=[0, 104])


def weights_per_layer(published: Results, run: Results) -> go.Figure:
    """Figure 11: how many weights each operation keeps, by layer."""
    figure = _per_layer(published, run, "kept", 1, "weights kept", 0)
    scales: list[tuple[str, dict, dict]] = [
        (name, {}, {f"{axis}.type": name for axis in ("yaxis", "yaxis2")}) for name in ("linear", "log")
    ]
    return _one_legend_entry_each(figure).update_layout(updatemenus=[buttons(scales, y=1.06)])


def _per_layer(published: Results, run: Results, metric: str, factor: float, unit: str, digits: int) -> go.Figure:
    networks = _networks(published, run)
    titles = [NETWORKS[network] for network in networks]
    figure = make_subplots(rows=len(networks), cols=1, subplot_titles=titles, vertical_spacing=0.16)
    for row, network in enumerate(networks, 1):
        for task, name in TASKS.items():
            for kind, frame in _both(network, published, run):
                values = factor * by_layer(frame, task, metric).drop(columns="total")
                figure.add_trace(_bar_or_diamond(values, kind, name, COLOURS[task], unit, digits), row=row, col=1)
    figure.update_yaxes(title=unit)
    figure.update_annotations(x=0, xanchor="left")
    return style(figure, 300 * len(networks) + 60, barmode="group", scattermode="group", bargap=0.3, scattergap=0.3)


def _networks(published: Results, run: Results) -> list[str]:
    return [network for network in NETWORKS if network in run or network in published]


def _both(network: str, published: Results, run: Results) -> list[tuple[str, pd.DataFrame]]:
    """What there is to show of a network: ("published", its results), ("this run", its results)."""
    sides = [(kind, results[network]) for kind, results in ((PUBLISHED, published), (RUN, run)) if network in results]
    return [(kind, frame) for kind, frame in sides if not frame.empty]


def _bar_or_diamond(values: pd.DataFrame, kind: str, name: str, colour: str, unit: str, digits: int) -> go.Bar:
    """Published means over seeds as bars, the run's as diamonds in front; both with deviations and details to hover.

    Args:
        values: seeds in rows, places on the x axis in columns.
    """
    summary = spread(values)
    source = f"{name}, {kind}, {count(len(values), 'seed')}"
    common = {
        "x": list(summary.index),
        "y": summary["mean"],
        "error_y": {"type": "data", "array": summary["deviation"].fillna(0), "thickness": 1.2, "width": 3},
        "name": name,
        "legendgroup": name,
        "offsetgroup": name,
        "customdata": [plus_minus(mean, deviation, digits) for mean, deviation in summary.to_numpy()],
        "hovertemplate": f"<b>%{{x}}</b><br>%{{customdata}} {unit}<extra>{source}</extra>",
    }
    if kind == PUBLISHED:
        return go.Bar(**common, marker_color=colour, opacity=0.85)
    marker = {"symbol": "diamond", "size": 9, "color": colour, "line": {"color": "white", "width": 1.5}}
    return go.Scatter(**common, mode="markers", marker=marker, cliponaxis=False)


def _line_on_bar(values: pd.DataFrame, group: str, name: str) -> go.Scatter:
    """A level for every bar of a group."""
    return go.Scatter(
        x=list(values.columns),
        y=values.mean(),
        mode="markers",
        name=name,
        legendgroup=name,
        offsetgroup=group,
        marker={"symbol": "line-ew", "size": 13, "line": {"width": 2.5, "color": "black"}},
        hovertemplate=f"<b>%{{x}}</b>, {group}<br>%{{y:.1f}} [%] {name}<extra></extra>",
    )


def _one_legend_entry_each(figure: go.Figure) -> go.Figure:
    """The first trace of every name stands for all of them, and a grey diamond for the run's."""
    seen: set[str] = set()
    for trace in figure.data:
        trace.showlegend = trace.name not in seen
        seen.add(trace.name)
    marker = {"symbol": "diamond", "size": 10, "color": GREY}
    if any(trace.type == "scatter" and trace.marker.symbol == "diamond" for trace in figure.data):
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", marker=marker, name=RUN, showlegend=True))
    return figure


def performed(
    network: str, published: Results, run: Results, stages: Sequence[str] = ("full", "add", "mul")
) -> go.Figure:
    """Figures 2 (FNN) and 10 (LSTM): asked for an operation (rows), what does each mask's network do (columns)?

    One row of panels a mask, published results left, this run right. Buttons switch from the share of answers to the
    change against the unmasked network.
    """
    sides = _both(network, published, run)
    titles = [f"{kind} ({count(frame['seed'].nunique(), 'seed')})" for kind, frame in sides]
    rows = [f"mask: {MASKS[stage]}" for stage in stages]
    figure = make_subplots(
        len(stages),
        len(sides),
        column_titles=titles,
        row_titles=rows,
        vertical_spacing=0.14,
        horizontal_spacing=0.04,
        shared_yaxes=True,
    )
    for row in range(1, len(stages) + 1):
        for column in range(1, len(sides) + 1):
            figure.add_trace(go.Heatmap(x=list(OUTCOMES.values()), y=["asked +", "asked ×"]), row, column)
    panels = [(frame, stage) for stage in stages for _, frame in sides]
    shares = [_confusion(frame, stage) for frame, stage in panels]
    changes = [_confusion(frame, stage, against="unmasked") for frame, stage in panels]
    for trace, (means, texts) in zip(figure.data, shares, strict=True):
        trace.update(z=means, text=texts, coloraxis="coloraxis", texttemplate="%{text}")
        trace.hovertemplate = "%{y}, gives %{x}: %{text}<extra></extra>"
    share_axis = {"coloraxis": {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 100, "showscale": False}}
    change_axis = {"coloraxis": {"colorscale": DIVERGING, "cmin": -100, "cmax": 100, "showscale": False}}
    choices = [
        ("answers [%]", _restyled(shares), share_axis),
        ("change against no mask [points]", _restyled(changes), change_axis),
    ]
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(tickangle=0)
    figure.update_annotations(font_size=12)
    margin = {"l": 70, "r": 25, "t": 75, "b": 30}
    return style(figure, 80 + 150 * len(stages), updatemenus=[buttons(choices, y=1.08)], margin=margin, **share_axis)


def _restyled(panels: list[tuple[list, list]]) -> dict:
    return {"z": [means for means, _ in panels], "text": [texts for _, texts in panels]}


def _confusion(frame: pd.DataFrame, stage: str, against: str | None = None) -> tuple[list, list]:
    """Rows: the operation asked for; columns: sum, product, neither. Means in per cent, and as text with deviations."""
    means, texts = [], []
    for asked in TASKS:
        values = pd.DataFrame({done: 100 * outcome(frame, stage, asked, done) for done in OUTCOMES})
        if against:
            values -= pd.DataFrame({done: 100 * outcome(frame, against, asked, done) for done in OUTCOMES})
        summary = spread(values)
        means.append([round(mean, 2) for mean in summary["mean"]])
        texts.append([plus_minus(mean, deviation).replace(" ±", "<br>±") for mean, deviation in summary.to_numpy()])
    return means, texts


def accuracy_per_mask(published: Results, run: Results) -> go.Figure:
    """Figure 8: accuracy on each operation under every mask and inverted mask, in per cent."""
    figure = go.Figure()
    for network, title in NETWORKS.items():
        for task, sign in (("add", "+"), ("mul", "×")):
            for kind, frame in _both(network, published, run):
                values = pd.DataFrame({label: 100 * outcome(frame, stage, task) for stage, label in MASKS.items()})
                trace = _bar_or_diamond(values, kind, f"{title} {sign}", COLOURS[task], "% correct", 1)
                if network == "lstm" and kind == PUBLISHED:
                    trace.marker.pattern = {"shape": "/", "size": 5, "solidity": 0.35}
                figure.add_trace(trace)
    _one_legend_entry_each(figure)
    figure.update_xaxes(title={"text": "mask", "standoff": 5})
    figure.update_yaxes(title="correct [%]", range=[0, 104])
    legend = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}
    return style(figure, 460, barmode="group", scattermode="group", bargap=0.2, scattergap=0.2, legend=legend)
