"""What all figures share: colours that the colour-blind can tell apart, labels, and how spread is written."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

# M. Okabe and K. Ito, "Color Universal Design" (2008). The same task has the same colour everywhere.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8c8c8c"
COLOURS = {"add": BLUE, "mul": ORANGE}
MASKS = {
    "unmasked": "none",
    "full": "both",
    "add": "+",
    "mul": "×",
    "not add": "not +",
    "not mul": "not ×",
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


def buttons(choices: list[tuple[str, dict, dict]], y: float = 1.0) -> dict:
    """A row of buttons at the top right: (label, changes of the traces, changes of the layout)."""
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
        "buttons": [
            {"label": label, "method": "update", "args": [traces, layout]} for label, traces, layout in choices
        ],
    }


def count(number: int, thing: str) -> str:
    """``1 seed``, ``5 seeds``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
