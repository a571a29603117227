"""The figures of section 3.1 and appendix C: addition and multiplication.

Every function takes the published results and those of the run just made, as tables by network
(:func:`reproduction.runs.published.table`), and shows both: published as bars, the run as diamonds.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from modules_lib.analysis.theme import COLOURS, DIVERGING, SEQUENTIAL, buttons, count, name_panels, style
from reproduction.figures.bars import KEPT, PUBLISHED, bar_or_diamond, both, one_legend_entry_each, per_layer, sharing
from reproduction.figures.names import MASKS, Results
from reproduction.runs.measures import NETWORKS, TASKS, outcome, plus_minus, spread

OUTCOMES = {"add": "sum", "mul": "product", "none": "neither"}


def sharing_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw Figure 1: the share of each operation's weights that the other uses too, by layer, in per cent.

    Black lines mark the sharing to expect by chance, from the published runs.
    """
    return sharing(published, run, NETWORKS, TASKS)


def weights_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw Figure 11: how many weights each operation keeps, by layer."""
    figure = per_layer(published, run, NETWORKS, TASKS, KEPT)
    scales: list[tuple[str, dict, dict]] = [
        (name, {}, {f"{axis}.type": name for axis in ("yaxis", "yaxis2")}) for name in ("linear", "log")
    ]
    return one_legend_entry_each(figure).update_layout(updatemenus=[buttons(scales, y=1.06)])


def performed(
    network: str, published: Results, run: Results, stages: Sequence[str] = ("full", "add", "mul")
) -> go.Figure:
    """Draw Figures 2 (FNN) and 10 (LSTM): the answers (columns) of each mask's network to each operation (rows).

    One row of panels a mask, published results left, this run right. Buttons switch from the share of answers to the
    change against the unmasked network.
    """
    sides = both(network, published, run)
    titles = [f"{kind} ({count(frame['seed'].nunique(), 'seed')})" for kind, frame in sides]
    rows = [f"mask: {MASKS[stage]}" for stage in stages]
    names = [f"{row}, {title}" for row in rows for title in titles]
    figure = make_subplots(
        len(stages),
        len(sides),
        column_titles=titles,
        row_titles=rows,
        vertical_spacing=0.14,
        horizontal_spacing=0.04,
        shared_yaxes=True,
    )
    name_panels(figure, names, len(sides))
    for row in range(1, len(stages) + 1):
        for column in range(1, len(sides) + 1):
            figure.add_trace(go.Heatmap(x=list(OUTCOMES.values()), y=["+", "×"]), row, column)
    panels = [(frame, stage) for stage in stages for _, frame in sides]
    shares = [confusion(frame, stage) for frame, stage in panels]
    changes = [confusion(frame, stage, against="unmasked") for frame, stage in panels]
    for trace, (means, texts) in zip(figure.data, shares, strict=True):
        trace.update(z=means, text=texts, coloraxis="coloraxis", texttemplate="%{text}")
        trace.hovertemplate = "asked %{y}, gives %{x}: %{text}<extra></extra>"
    share_axis = {"coloraxis": {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 100, "showscale": False}}
    change_axis = {"coloraxis": {"colorscale": DIVERGING, "cmin": -100, "cmax": 100, "showscale": False}}
    choices = [
        ("answers [%]", _restyled(shares), share_axis),
        ("change against no mask [points]", _restyled(changes), change_axis),
    ]
    figure.update_yaxes(autorange="reversed")
    figure.update_yaxes(title="asked", col=1)
    figure.update_xaxes(tickangle=0)
    figure.update_xaxes(title="the answer is", row=len(stages))
    figure.update_annotations(font_size=12)
    margin = {"l": 70, "r": 25, "t": 75, "b": 30}
    return style(figure, 80 + 150 * len(stages), updatemenus=[buttons(choices, y=1.08)], margin=margin, **share_axis)


def _restyled(panels: list[tuple[list, list]]) -> dict:
    return {"z": [means for means, _ in panels], "text": [texts for _, texts in panels]}


def confusion(frame: pd.DataFrame, stage: str, against: str | None = None) -> tuple[list, list]:
    """Tabulate answers (sum, product, neither) by operation asked for: means in per cent, and texts with deviations."""
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
    """Draw Figure 8: accuracy on each operation under every mask and inverted mask, in per cent."""
    figure = go.Figure()
    for network, title in NETWORKS.items():
        for task, sign in (("add", "+"), ("mul", "×")):
            for kind, frame in both(network, published, run):
                values = pd.DataFrame({label: 100 * outcome(frame, stage, task) for stage, label in MASKS.items()})
                trace = bar_or_diamond(values, kind, f"{title} {sign}", COLOURS[task], "% correct", 1)
                if network == "lstm" and kind == PUBLISHED:
                    trace.marker.pattern = {"shape": "/", "size": 5, "solidity": 0.35}
                figure.add_trace(trace)
    one_legend_entry_each(figure)
    figure.update_xaxes(title={"text": "mask", "standoff": 5})
    figure.update_yaxes(title="correct [%]", range=[0, 104])
    return style(figure, 460, barmode="group", scattermode="group", bargap=0.2, scattergap=0.2)
