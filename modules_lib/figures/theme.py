"""What all figures share: colours that the colour-blind can tell apart, labels, and how spread is written."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from modules_lib.measures import PAIRS

# M. Okabe and K. Ito, "Color Universal Design" (2008). The same task has the same colour everywhere.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8c8c8c"
SKY, PURPLE, AMBER = "#56B4E9", "#CC79A7", "#E69F00"
WINE = "#882255"  # P. Tol, "Colour schemes" (2021), where one more is needed
COLOURS = {
    "full": GREEN,
    "add": BLUE,
    "mul": ORANGE,
    "pair-1": SKY,
    "pair-2": PURPLE,
    "simple": SKY,
    "add-jump": ORANGE,
    "length": BLUE,
    "add-turn-left": PURPLE,
}
MASKS = {
    "unmasked": "none",
    "full": "both",
    "add": "+",
    "mul": "×",
    "not add": "not +",
    "not mul": "not ×",
}
PAIR_MASKS = {
    "unmasked": "none",
    "full": "both",
    **PAIRS,
    **{f"not {pair}": f"not {name}" for pair, name in PAIRS.items()},
}
SEQUENTIAL = "Blues"
DIVERGING = "RdBu"

Results = dict[str, pd.DataFrame]  # network ("fnn", "lstm") -> table of measurements


def style(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """The book's look; figures are as wide as the page."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        font={"size": 13},
        legend={"orientation": "h", "y": -50 / height, "yanchor": "top", "x": 0},
        hoverlabel={"align": "left"},
    )
    return figure.update_layout(**layout)


def buttons(choices: Sequence[tuple], y: float = 1.0) -> dict:
    """A row of buttons at the top right: (label, changes of the traces, of the layout, and which traces if not all)."""
    return {
        "type": "buttons",
        "direction": "right",
        "x": 1,
        "xanchor": "right",
        "y": y,
        "yanchor": "bottom",
        "pad": {"b": 6},
        "showactive": True,
        "active": 0,
        "font": {"size": 11},
        "buttons": [{"label": label, "method": "update", "args": list(args)} for label, *args in choices],
    }


def slider(label: str, steps: list[dict], active: int, x: float = 0.0, length: float = 1.0) -> dict:
    """A slider below a figure; its steps are plotly's."""
    current = {"prefix": label, "font": {"size": 13}}
    return {"active": active, "steps": steps, "currentvalue": current, "x": x, "len": length, "pad": {"t": 60}}


def count(number: int, thing: str) -> str:
    """``1 seed``, ``5 seeds``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
