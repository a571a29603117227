"""The figures on networks that reuse an adder to a known degree: sharing, exchanged inner weights, and the dose."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import BLUE, GREEN, GREY, GROUPS, ORANGE, PURPLE, count, style
from reproduction.experiments.reuse import AGAIN, PULLS, stage_of
from reproduction.figures import bars
from reproduction.figures.names import Results
from reproduction.runs.measures import (
    inner_chance,
    inner_sharing,
    likeness,
    outcome,
    plus_minus,
    sharing_with_itself,
    spread,
    variants_of,
)

NAME = "reuse"  # of the experiment's results
NAMES = {
    "none": "as in the paper",
    **{f"dose-{i}": f"pull {pull:g}" for i, pull in enumerate(PULLS.values()) if i},
    "copied": "outer weights copied",
    "built-in": "one adder",
}
# Where a point's name stands, if not above it.
BESIDE = {"dose-3": "bottom center", "dose-5": "top left", "copied": "bottom left", "built-in": "top left"}
LABELS = {variant: name.replace(" ", "<br>", 2) for variant, name in NAMES.items()}  # below bars


def sharing_by_network(published: Results, run: Results) -> go.Figure:
    """Draw the sharing between the outer layers [%] of two pairs, beside that of two masks of one pair, and chance."""
    figure = go.Figure()
    for kind, frame in bars.both(NAME, published, run):
        shown = variants_of(frame)
        pairs = pd.DataFrame({LABELS[v]: 100 * inner_sharing(frame, v) for v in shown})
        again = pd.DataFrame({LABELS[v]: 100 * sharing_with_itself(frame, v) for v in shown if _has_again(frame, v)})
        figure.add_trace(bars.bar_or_diamond(pairs, kind, "pair 1 with pair 2", BLUE, "shared [%]", 1))
        figure.add_trace(bars.bar_or_diamond(again, kind, "pair 1 with itself", GREEN, "shared [%]", 1))
        if kind == bars.PUBLISHED:
            alone = pd.DataFrame({LABELS[v]: 100 * inner_chance(frame, v) for v in shown})
            figure.add_traces(bars.lines_on_bars(alone, "pair 1 with pair 2", "by chance"))
    figure.update_yaxes(title="shared between the outer layers [%]", range=[0, 104])
    return _by_network(figure)


def exchanged(published: Results, run: Results) -> go.Figure:
    """Draw accuracy on pair 1 [%] with its own inner weights, those of another mask of pair 1, and those of pair 2."""
    figure = go.Figure()
    looks = {
        "own inner weights": ("pair-1", GREY),
        "those of a second mask of pair 1": (f"inner of {AGAIN}", GREEN),
        "those of pair 2": ("inner of pair-2", PURPLE),
    }
    for kind, frame in bars.both(NAME, published, run):
        for name, (part, colour) in looks.items():
            there = [v for v in variants_of(frame) if part != f"inner of {AGAIN}" or _has_again(frame, v)]
            right = {LABELS[v]: 100 * outcome(frame, stage_of(part, v), "pair-1") for v in there}
            figure.add_trace(bars.bar_or_diamond(pd.DataFrame(right), kind, name, colour, "% right", 1))
    figure.update_yaxes(title="sums of pair 1 right [%]", range=[0, 104])
    return _by_network(figure)


def dose(published: Results, run: Results) -> go.Figure:
    """Draw sharing between the outer layers against the likeness of the two computations, a point a network."""
    figure = go.Figure()
    for kind, frame in bars.both(NAME, published, run):
        shown = variants_of(frame)
        shares, alike = (
            spread(pd.DataFrame({v: 100 * measure(frame, v) for v in shown})) for measure in (inner_sharing, likeness)
        )
        figure.add_scatter(
            x=alike["mean"],
            y=shares["mean"],
            error_x=bars.error_bars(alike["deviation"]),
            error_y=bars.error_bars(shares["deviation"]),
            mode="markers+text",
            text=[NAMES[v] for v in shown] if kind == bars.PUBLISHED or not published else None,
            textposition=[BESIDE.get(v, "top center") for v in shown],
            marker={
                "symbol": "circle" if kind == bars.PUBLISHED else "diamond",
                "size": 10,
                "color": [BLUE if v in PULLS else ORANGE for v in shown],
                "line": {"color": "white", "width": 1.5},
            },
            name=f"{kind}, {count(frame['seed'].nunique(), 'seed')}",
            customdata=[[NAMES[v], plus_minus(*alike.loc[v]), plus_minus(*shares.loc[v])] for v in shown],
            hovertemplate="<b>%{customdata[0]}</b><br>alike: %{customdata[1]} [%]<br>shared: %{customdata[2]} [%]"
            "<extra></extra>",
        )
    figure.update_xaxes(
        title={"text": "likeness of the hidden states for one question at both pairs [%]", "standoff": 5}
    )
    figure.update_yaxes(title="shared between the outer layers [%]", range=[0, 104])
    return style(figure, 430)


def _by_network(figure: go.Figure) -> go.Figure:
    """Finish a figure with a group of bars for each network."""
    figure.update_xaxes(title={"text": "network", "standoff": 5}, type="category", tickangle=0)
    return style(bars.one_legend_entry_each(figure), 440, **GROUPS).update_layout(legend_y=-0.3)


def _has_again(frame: pd.DataFrame, variant: str) -> bool:
    return stage_of(AGAIN, variant) in set(frame["stage"])
