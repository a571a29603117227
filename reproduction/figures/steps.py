"""The method as five pictures of one small network: train, freeze, mask for one task, mask for the other, compare."""

from __future__ import annotations

from dataclasses import dataclass

import plotly.graph_objects as go

from modules_lib.analysis.compare import sharing
from modules_lib.analysis.theme import AMBER, BLUE, GREEN, GREY, ORANGE, buttons, style
from reproduction.experiments.two_xors import Snapshot
from reproduction.figures.method import Edge, edge_lines, edges_and_places

HEIGHT = 480
FAINT = 0.1  # opacity of removed weights
KINDS = {"only A": BLUE, "only B": ORANGE, "A and B": GREEN, "removed": GREY}


@dataclass(frozen=True)
class Step:
    """One picture.

    Attributes:
        label: of its button.
        caption: of the picture, in lines that fit a phone.
        colours: of every edge; grey ones are faint where ``fades``.
        outputs: opacity of A's output and of B's.
    """

    label: str
    caption: str
    colours: list[str]
    outputs: tuple[float, float] = (1.0, 1.0)
    fades: bool = True

    @property
    def opacities(self) -> list[float]:
        return [FAINT if self.fades and colour == GREY else 0.9 for colour in self.colours]


def method_steps(snapshot: Snapshot) -> go.Figure:
    """Draw the network of :mod:`reproduction.experiments.two_xors` in five steps, which buttons choose.

    Args:
        snapshot: the end of its mask training.
    """
    edges, places = edges_and_places(snapshot.weights)
    steps = _steps(edges, snapshot)
    first, drawn = steps[0], len(edges) + 2  # edges and both outputs change
    changes = [
        (
            step.label,
            {"line.color": [*step.colours, GREY, GREY], "opacity": [*step.opacities, *step.outputs]},
            {"title.text": step.caption},
            list(range(drawn)),
        )
        for step in steps
    ]
    figure = go.Figure(edge_lines(edges, places, snapshot.weights, first.colours, first.opacities))
    figure.update_traces(showlegend=False)
    inputs, hidden, (a, b) = places
    figure.add_traces([_units([a], BLUE, ["A: x1 xor x2"]), _units([b], ORANGE, ["B: x3 xor x4"])])
    figure.add_traces([_units(inputs, GREY, ["x1", "x2", "x3", "x4"], "middle left"), _units(hidden, GREY)])
    figure.add_traces([_key(name, colour) for name, colour in KINDS.items()])
    figure.update_xaxes(visible=False, range=[-0.3, 2.85], fixedrange=True)
    figure.update_yaxes(visible=False, range=[1.0, 0.0], fixedrange=True)
    menu = buttons(changes) | {"x": 0, "xanchor": "left"}
    title = {"text": first.caption, "font": {"size": 14}, "x": 0.02, "xanchor": "left", "y": 0.98, "yanchor": "top"}
    legend = {"orientation": "h", "x": 0, "y": 0, "yanchor": "top"}
    margin = {"t": 92, "b": 40, "l": 10, "r": 10}
    return style(figure, HEIGHT, updatemenus=[menu], title=title, legend=legend, margin=margin)


def _steps(edges: list[Edge], snapshot: Snapshot) -> list[Step]:
    a, b = snapshot.masks
    in_a, in_b = (
        [bool(list(mask.values())[layer][end, start]) for layer, start, end in edges] for mask in snapshot.masks
    )
    names = {(True, False): "only A", (False, True): "only B", (True, True): "A and B", (False, False): "removed"}
    compared = [KINDS[names[pair]] for pair in zip(in_a, in_b, strict=True)]
    size, kept_a, kept_b, both = a.size(), a.count(), b.count(), (a & b).count()
    trained = f"1. Two tasks, one network: all {size} weights<br>are trained on both."
    frozen = "2. It can do both. Its weights are frozen:<br>nothing below changes them."
    masked_a = f"3. A mask is learned on task A alone.<br>It keeps {kept_a} of {size} weights."
    masked_b = f"4. Another is learned on task B alone.<br>It keeps {kept_b} of {size} weights."
    compare = (
        f"5. Sharing (equation 14): of A's {kept_a} weights<br>"
        f"B uses {both} ({_percent(sharing(a, b))}), of B's {kept_b} A uses {both} ({_percent(sharing(b, a))})."
    )
    return [
        Step("train", trained, [AMBER] * size),
        Step("freeze", frozen, [GREY] * size, fades=False),
        Step("mask A", masked_a, [BLUE if kept else GREY for kept in in_a], (1.0, 0.25)),
        Step("mask B", masked_b, [ORANGE if kept else GREY for kept in in_b], (0.25, 1.0)),
        Step("compare", compare, compared),
    ]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == share else "not available"


def _units(
    places: list[tuple[float, float]], colour: str, labels: list[str] | None = None, side: str = "middle right"
) -> go.Scatter:
    return go.Scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers+text",
        text=labels,
        textposition=side,
        marker={"size": 17, "color": "white" if colour == GREY else colour, "line": {"color": colour, "width": 2}},
        hoverinfo="skip",
        showlegend=False,
    )


def _key(name: str, colour: str) -> go.Scatter:
    opacity = 0.4 if name == "removed" else 1.0
    return go.Scatter(x=[None], y=[None], mode="lines", line={"color": colour, "width": 4}, opacity=opacity, name=name)
