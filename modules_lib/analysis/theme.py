"""The look of all figures: a template, colours that the colour-blind can tell apart, panels, controls."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

# M. Okabe and K. Ito, "Color Universal Design" (2008). The same task has the same colour everywhere. There are more
# tasks than colours that all can tell apart, so those of different experiments, never drawn together, share some.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8c8c8c"
SKY, PURPLE, AMBER = "#56B4E9", "#CC79A7", "#E69F00"
WINE = "#882255"  # P. Tol, "Colour schemes" (2021), where one more is needed
COLOURS = {"full": GREEN, "add": BLUE, "mul": ORANGE, "pair-1": SKY, "pair-2": PURPLE}
COLOURS |= {"simple": SKY, "add-jump": ORANGE, "length": BLUE, "add-turn-left": PURPLE}
SEQUENTIAL = "Blues"
DIVERGING = "RdBu"

GROUPS = {"barmode": "group", "scattermode": "group", "bargap": 0.3, "scattergap": 0.3}

INK, GRID = "#2a3f5f", "#e5eaf1"
LINES = {"gridcolor": GRID, "linecolor": GRID, "ticks": "", "zerolinecolor": GRID, "zerolinewidth": 2}
AXIS = {"automargin": True, "title": {"standoff": 8, "font": {"size": 13}}, **LINES}
TEMPLATE = "modules"
pio.templates[TEMPLATE] = go.layout.Template(
    layout={
        "coloraxis": {"colorbar": {"outlinewidth": 0, "ticks": ""}},
        "colorway": [BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, GREY],
        "font": {"family": "system-ui, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "legend": {"orientation": "h", "yanchor": "top", "x": 0},
        "margin": {"l": 60, "r": 20, "t": 50, "b": 50},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": AXIS,
        "yaxis": AXIS,
    }
)


def style(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """Give a figure the book's look; figures are as wide as the page."""
    figure.update_layout(template=TEMPLATE, height=height, legend_y=-56 / (height - 100))
    return figure.update_layout(**layout)


def panels(titles: Sequence[str], columns: int = 1, **options: object) -> go.Figure:
    """Make an empty figure with a panel for every title, row by row, which titles also name in downloaded data."""
    rows = -(-len(titles) // columns)
    figure = make_subplots(rows, columns, subplot_titles=titles, **options)
    figure.update_annotations(font_size=13)
    if columns == 1:
        figure.update_annotations(x=0, xanchor="left")
    return name_panels(figure, titles, columns)


def name_panels(figure: go.Figure, titles: Sequence[str], columns: int = 1) -> go.Figure:
    """Say in the figure itself which axes belong to which panel: ``x2y2`` -> its title."""
    places = [figure.get_subplot(i // columns + 1, i % columns + 1) for i in range(len(titles))]
    names = ["".join(axis.plotly_name.replace("axis", "") for axis in place) for place in places]
    figure.layout.meta = {"panels": dict(zip(names, titles, strict=True))}
    return figure


def buttons(choices: Sequence[tuple], y: float = 1.0) -> dict:
    """Make buttons at the top right: (label, changes of the traces, of the layout, and which traces if not all)."""
    each = [{"label": label, "method": "update", "args": list(args)} for label, *args in choices]
    look = {"type": "buttons", "direction": "right", "pad": {"b": 6}, "font": {"size": 11}}
    place = {"x": 1, "xanchor": "right", "y": y, "yanchor": "bottom"}
    return {"buttons": each, "showactive": True, "active": 0, **look, **place}


def menu(choices: Sequence[tuple], y: float = 1.02, **place: object) -> dict:
    """Make a menu at the top left, with choices as :func:`buttons` takes them; ``place`` changes its place."""
    return buttons(choices, y) | {"type": "dropdown", "direction": "down", "x": 0, "xanchor": "left"} | place


def slider(label: str, steps: list[dict], active: int, x: float = 0.0, length: float = 1.0) -> dict:
    """Make a slider below a figure; its steps are plotly's."""
    current = {"prefix": label, "font": {"size": 13}}
    place = {"x": x, "len": length, "pad": {"t": 60, "l": 6, "r": 14}}
    return {"active": active, "steps": steps, "currentvalue": current, **place}


def count(number: int, thing: str) -> str:
    """Write a number of things: ``1 seed``, ``5 seeds``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
