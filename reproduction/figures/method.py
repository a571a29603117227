"""The figures of the method chapter: the sampler against its distribution, and a network small enough to watch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from modules_lib.analysis.theme import BLUE, GREEN, GREY, ORANGE, slider, style
from modules_lib.masking.sample_weights import gumbel_sigmoid
from reproduction.experiments.two_xors import Snapshot

BINS = 25
Edge = tuple[int, int, int]  # layer, unit it starts from, unit it ends in


def sampler(
    logits: Sequence[float] = (-4, -3, -2, -1, 0, 1, 2, 3, 4),
    taus: Sequence[float] = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0),
    logit: float = 2.0,
    tau: float = 1.0,
    samples: int = 20_000,
    seed: int = 0,
) -> go.Figure:
    """Draw Gumbel-sigmoid samples (eq. 1) as a histogram, and the distribution they should follow, with two sliders.

    The sliders work without a kernel and without knowing of each other: one sets which logit's traces are drawn, the
    other makes all temperatures but one fully transparent.
    """
    generator = torch.Generator().manual_seed(seed)
    u1, u2 = torch.rand(2, samples, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    edges = np.linspace(0, 1, BINS + 1)
    figure, grid = go.Figure(), [(one, other) for one in logits for other in taus]
    for one, other in grid:
        drawn = gumbel_sigmoid(torch.full((samples,), float(one), dtype=torch.float64), u1, u2, other).numpy()
        shares = 100 * np.histogram(drawn, edges)[0] / samples
        exact = 100 * np.diff(distribution(edges, one, other))
        middles = np.round((edges[1:] + edges[:-1]) / 2, 3)
        shown: dict = {"visible": one == logit, "opacity": 1.0 if other == tau else 0.0}
        shown["meta"] = {"logit": one, "tau": other}
        colours = np.where(middles > 0.5, BLUE, GREY)
        bars = go.Bar(x=middles, y=np.round(shares, 3), width=1 / BINS, marker_color=colours, name="samples", **shown)
        line = {"mode": "lines+markers", "line": {"color": ORANGE, "width": 2}, "marker_size": 5, "name": "analytic"}
        figure.add_traces([bars, go.Scatter(x=middles, y=np.round(exact, 3), **line, **shown)])
    figure.update_traces(hoverinfo="x+y+name", showlegend=False)
    figure.update_xaxes(title="sample s(l), rounded down (grey) or up (blue)", range=[0, 1])
    figure.update_yaxes(title="share of samples [%]", type="log", range=[-1.3, 2], tickvals=[0.1, 1, 10, 100])
    return style(figure, 480, barmode="overlay", bargap=0, sliders=_two_sliders(grid, logits, taus, logit, tau))


def distribution(x: np.ndarray, logit: float, tau: float) -> np.ndarray:
    """Compute P(s <= x), where s is the sigmoid of (logit + logistic noise) / tau."""
    with np.errstate(divide="ignore"):
        return 1 / (1 + np.exp(-(tau * (np.log(x) - np.log1p(-x)) - logit)))


def _two_sliders(grid: list, logits: Sequence[float], taus: Sequence[float], logit: float, tau: float) -> list[dict]:
    pairs = [pair for pair in grid for _ in range(2)]  # bars and line
    by_logit = [
        {"label": f"{value:g}", "method": "restyle", "args": [{"visible": [one == value for one, _ in pairs]}]}
        for value in logits
    ]
    by_tau = []
    for value in taus:
        active = [other == value for _, other in pairs]
        looks = {"opacity": [float(a) for a in active], "hoverinfo": ["x+y+name" if a else "skip" for a in active]}
        by_tau.append({"label": f"{value:g}", "method": "restyle", "args": [looks]})
    return [
        slider("logit l = ", by_logit, list(logits).index(logit), 0.0, 0.46),
        slider("temperature tau = ", by_tau, list(taus).index(tau), 0.54, 0.46),
    ]


def tiny_network(history: Sequence[Snapshot]) -> go.Figure:
    """Draw the network of :mod:`reproduction.experiments.two_xors` over time, edges coloured by the masks.

    A line's width is the size of its weight, its colour shows which masks keep it; a slider goes through the training.
    """
    last = history[-1]
    edges, places = edges_and_places(last.weights)
    looks = _edge_looks(edges, last)
    lines = edge_lines(edges, places, last.weights, looks["line.color"], looks["opacity"])
    for line, probabilities in zip(lines, looks["customdata"], strict=True):
        line.customdata = probabilities
        line.meta |= {"customdata": ["p kept for first output", "p kept for second"]}
    figure = go.Figure([*lines, _nodes(places), *_legend()])
    steps = [_snapshot_step(edges, snapshot) for snapshot in history]
    figure.update_xaxes(visible=False, range=[-0.25, 2.6])
    figure.update_yaxes(visible=False, range=[1.02, -0.02])
    through = slider("step ", steps, len(steps) - 1) | {"pad": {"t": 10}}
    title = {"text": last.title, "x": 0, "y": 0.98, "yanchor": "top", "font": {"size": 13}}
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    margin = {"t": 105, "l": 10, "r": 10}
    return style(figure, 520, sliders=[through], title=title, legend=legend, margin=margin)


def edges_and_places(weights: Sequence[Tensor]) -> tuple[list[Edge], list[list[tuple[float, float]]]]:
    """List the edges of a network of linear layers, and place each layer's units."""
    edges = [
        (layer, start, end)
        for layer, matrix in enumerate(weights)
        for end in range(matrix.shape[0])
        for start in range(matrix.shape[1])
    ]
    sizes = [weights[0].shape[1], *(len(matrix) for matrix in weights)]
    return edges, [[(float(layer), (i + 0.5) / size) for i in range(size)] for layer, size in enumerate(sizes)]


def edge_lines(
    edges: list[Edge],
    places: list[list[tuple[float, float]]],
    weights: Sequence[Tensor],
    colours: Sequence[str],
    opacities: Sequence[float],
) -> list[go.Scatter]:
    """Draw a line for every edge, as wide as its weight is large."""
    lines = []
    for (layer, start, end), colour, opacity in zip(edges, colours, opacities, strict=True):
        (x0, y0), (x1, y1) = places[layer][start], places[layer + 1][end]
        weight = float(weights[layer][end, start])
        line = {"color": colour, "width": 1 + 2.5 * min(1.5, abs(weight))}
        known = {"name": f"layer {layer + 1}: {start + 1} to {end + 1}", "meta": {"weight": round(weight, 4)}}
        looks = {"mode": "lines", "line": line, "opacity": opacity, "hoverinfo": "skip", "showlegend": False}
        lines.append(go.Scatter(x=[x0, x1], y=[y0, y1], **known, **looks))
    return lines


def _edge_looks(edges: list[Edge], snapshot: Snapshot) -> dict[str, list]:
    """Colour, opacity and probabilities of every edge: the more probable mask decides how visible it is."""
    colours, opacities, probabilities = [], [], []
    for layer, start, end in edges:
        first, second = (float(task[layer][end, start]) for task in snapshot.probabilities)
        kept = (first > 0.5, second > 0.5)
        colours.append({(True, True): GREEN, (True, False): BLUE, (False, True): ORANGE}.get(kept, GREY))
        opacities.append(round(max(0.06, max(first, second) ** 2), 3))
        probabilities.append([[round(first, 3), round(second, 3)]] * 2)  # at both ends
    return {"line.color": colours, "opacity": opacities, "customdata": probabilities}


def _snapshot_step(edges: list[Edge], snapshot: Snapshot) -> dict:
    changes = [_edge_looks(edges, snapshot), {"title.text": snapshot.title}, list(range(len(edges)))]
    return {"label": str(snapshot.step), "method": "update", "args": changes}


def _nodes(places: list[list[tuple[float, float]]]) -> go.Scatter:
    labels = ["x1", "x2", "x3", "x4", *[""] * len(places[1]), "x1 xor x2", "x3 xor x4"]
    flat = [place for layer in places for place in layer]
    sides = ["middle left"] * 4 + ["middle center"] * len(places[1]) + ["middle right"] * 2
    return go.Scatter(
        x=[x for x, _ in flat],
        y=[y for _, y in flat],
        mode="markers+text",
        text=labels,
        textposition=sides,
        marker={"size": 15, "color": "white", "line": {"color": GREY, "width": 2}},
        hoverinfo="skip",
        name="units",
        showlegend=False,
    )


def _legend() -> list[go.Scatter]:
    kinds = {"only first output": BLUE, "only second": ORANGE, "both": GREEN, "neither": GREY}
    return [
        go.Scatter(x=[None], y=[None], mode="lines", line={"color": colour, "width": 4}, name=name)
        for name, colour in kinds.items()
    ]
