"""All claims at a glance: how far each one's least certain statement lies on the paper's side of its threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from modules_lib.analysis.theme import AMBER, BLUE, GREY, ORANGE, count, style
from reproduction.claims import Verdict
from reproduction.claims.paper import PASSAGES
from reproduction.claims.statement import Statement, bounds
from reproduction.pages.answer import IN_FULL, IN_PART, NOT_MET, found, kind

# Colour and marker, so that neither is needed to see the other; those of single runs are hollow.
LOOKS = {
    "reproduced": (BLUE, "circle"),
    "partly": (AMBER, "diamond"),
    "undecided": (GREY, "square"),
    "not reproduced": (ORANGE, "x"),
    IN_FULL: (BLUE, "circle-open"),
    IN_PART: (AMBER, "diamond-open"),
    NOT_MET: (ORANGE, "x-open"),
}
OTHERS = "the claim's other statements"
EDGE = 75  # hundredths at which a mark stops and points outwards
PITCH = 33  # pixels a claim
DETAILS = ("claim", "statement", "measured", "runs", "margin")
HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br><b>%{customdata[2]}</b>, %{customdata[3]}<br>"
    "%{customdata[4]} from the threshold<extra></extra>"
)


def at_a_glance(verdicts: Sequence[Verdict]) -> go.Figure:
    """Draw a row a claim, those furthest on the paper's side on top, and those without results below."""
    judged = sorted((v for v in verdicts if v.statements), key=lambda v: -_mean(v.weakest))
    figure = go.Figure(_others(judged))
    for word in LOOKS:
        if alike := [verdict for verdict in judged if kind(verdict) == word]:
            figure.add_trace(_weakest(alike, word))
    rows = [*judged, *(verdict for verdict in verdicts if not verdict.statements)]
    for verdict in rows:
        figure.add_annotation(_label(verdict))
    for x, said in ((0, "← against the claim"), (1, "as claimed →")):
        side = {"xanchor": "right" if x else "left", "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(x=x, y=1, xref="paper", yref="paper", yshift=6, text=f"<i>{said}</i>", **side)
    figure.add_vline(0, line={"color": GREY, "width": 2}, layer="below")
    names = [_row(verdict) for verdict in rows]
    title = "distance from the claim's threshold [points]"
    figure.update_xaxes(title=title, range=[-EDGE - 3, EDGE + 3], zeroline=False, tickvals=[-50, -25, 0, 25, 50])
    last = len(names) - 0.5
    figure.update_yaxes(visible=False, type="category", categoryorder="array", categoryarray=names, range=[last, -1])
    return style(figure, PITCH * len(rows) + 150, margin={"l": 20, "r": 20, "t": 40, "b": 90})


def caption(verdicts: Sequence[Verdict]) -> str:
    """Say what was found, and how the figure is read."""
    single = any(kind(verdict) in (IN_FULL, IN_PART, NOT_MET) for verdict in verdicts)
    hollow = "Hollow marks are single runs, which have no interval and decide nothing. " if single else ""
    return (
        f"{found(verdicts)} A large mark is the least certain statement of a claim: its mean distance over seeds from "
        "the threshold, with one-sided 95% bounds. Small dots are its other statements. Right of the line is the "
        f"claimed side, so a claim whose whole interval is there is reproduced. {hollow}Points are hundredths of a "
        "proportion, of a ratio or its logarithm, or of a rank correlation. Hover for a statement and its numbers; a "
        "label leads to the chapter."
    )


def _weakest(verdicts: Sequence[Verdict], word: str) -> go.Scatter:
    colour, symbol = LOOKS[word]
    statements = [verdict.weakest for verdict in verdicts]
    reach = [100 * (_mean(one) - one.least) if len(one.margins) > 1 else 0 for one in statements]
    bars = {"type": "data", "array": np.nan_to_num(reach), "thickness": 2.5, "width": 0, "color": colour}
    marks = _marks(list(zip(verdicts, statements, strict=True)), symbol)
    line = {"color": colour, "width": 2} if "open" in symbol else {"color": "white", "width": 1}
    return marks.update(name=word, error_x=bars, marker={"color": colour, "size": 11, "line": line})


def _others(verdicts: Sequence[Verdict]) -> go.Scatter:
    pairs = [(verdict, one) for verdict in verdicts for one in verdict.statements if one is not verdict.weakest]
    return _marks(pairs, "circle").update(name=OTHERS, marker={"color": GREY, "size": 5, "opacity": 0.6})


def _marks(pairs: Sequence[tuple[Verdict, Statement]], symbol: str) -> go.Scatter:
    """Marks of statements in the rows of their claims; those beyond the edge lie on it, as triangles."""
    x = np.array([100 * _mean(statement) for _, statement in pairs])
    beyond = {-1: "triangle-left", 1: "triangle-right"}
    return go.Scatter(
        x=x.clip(-EDGE, EDGE),
        y=[_row(verdict) for verdict, _ in pairs],
        mode="markers",
        marker={"symbol": [beyond.get(int(np.sign(value)) * (abs(value) > EDGE), symbol) for value in x]},
        customdata=[_details(verdict, statement) for verdict, statement in pairs],
        hovertemplate=HOVER,
        meta={"customdata": DETAILS},
        cliponaxis=False,
    )


def _details(verdict: Verdict, statement: Statement) -> list[str]:
    """What DETAILS name, in words; the statement is broken to lines that a phone can show."""
    low, high = (100 * bound for bound in bounds(statement.margins))
    ends = "" if np.isnan(low) else f" ({low:+.1f} to {high:+.1f})"
    return [
        f"{verdict.claim.id}: {verdict.verdict}",
        "<br>".join(textwrap.wrap(statement.text, 46, break_on_hyphens=False)),
        statement.interval,
        count(len(statement.margins), "run"),
        f"{100 * _mean(statement):+.1f}{ends}",
    ]


def _label(verdict: Verdict) -> dict[str, object]:
    """The claim's name above its row; the page's script makes a link of it."""
    missing = "" if verdict.statements else " – <i>not run</i>"
    place = {"x": 0, "xref": "paper", "xanchor": "left", "y": _row(verdict), "yanchor": "bottom", "yshift": 5}
    text = f"<b>{verdict.claim.id}</b>  {PASSAGES[verdict.claim.id].short}{missing}"
    return {**place, "text": text, "showarrow": False, "captureevents": True, "font": {"size": 12}, "borderpad": 0}


def _mean(statement: Statement) -> float:
    """The mean margin; one that is not available in a seed is far on the wrong side."""
    mean = float(statement.margins.mean(skipna=False))
    return mean if np.isfinite(mean) else -np.inf


def _row(verdict: Verdict) -> str:
    """The name of a claim's row: the id of its row in the table of claims, too."""
    return f"claim-{verdict.claim.id}"
