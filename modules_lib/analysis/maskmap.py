"""A map of a layer's weights: which belong to one task alone, to the other alone, to both, to neither."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from modules_lib.analysis.theme import BLUE, GREEN, ORANGE, buttons, menu, style
from modules_lib.masking.masks import Masks

BLOCKS = 40  # at most, along each side of the overview, whose weights hovering counts
BOTH, NEITHER = GREEN, "#f0f0f0"


def mask_map(
    first: Masks,
    second: Masks,
    layers: Mapping[str, str],
    names: tuple[str, str] = ("addition", "multiplication"),
    colours: tuple[str, str] = (BLUE, ORANGE),
) -> go.Figure:
    """Map a layer's weights: the units that it writes to in rows, those that it reads from in columns.

    The overview mixes the colours of the weights in a block; the other view draws every weight, as an image of two bits
    a weight, into which one can zoom. Hovering counts the weights of the block under the mouse. All of it works without
    a kernel and weighs less than 100 kB for a million weights of which few are kept.

    Args:
        first, second: the masks of two tasks, of one model.
        layers: masked parameter -> what to call it; kernels of convolutions are unrolled, outputs in rows.
        names: the two tasks.
        colours: theirs, as ``#rrggbb``.

    Raises:
        ValueError: there is no layer to draw, or the masks lack one of them.
    """
    if not layers:
        raise ValueError("layers is empty; name at least one masked parameter to draw.")
    palette = (*colours, BOTH, NEITHER)
    maps = [_Layer(_kinds(first, second, name), label, names, palette) for name, label in layers.items()]
    shown = maps[0]
    figure = go.Figure(go.Heatmap(**shown.blocks(), colorscale=[[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]]))
    figure.update_traces(showscale=False, hovertemplate=_hover(names), name="weights in blocks")
    figure.data[0].meta = {"customdata": _kind_names(names)}
    for name, colour in zip(_kind_names(names), palette, strict=True):
        marker = {"symbol": "square", "size": 12, "color": colour}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
    images = [
        {"source": source, "visible": visible, **shown.place()}
        for source, visible in ((shown.overview(), True), (shown.weights(), False))
    ]
    figure.update_layout(images=images, title=shown.title(), **shown.axes())
    views: list[tuple] = [
        ("overview", {}, {"images[0].visible": True, "images[1].visible": False}),
        ("every weight", {}, {"images[0].visible": False, "images[1].visible": True}),
    ]
    parameters = menu([(one.label, *one.choice(), [0]) for one in maps])
    legend = {"orientation": "h", "y": -0.1, "yanchor": "top", "x": 0}
    margin = {"l": 60, "r": 20, "t": 110, "b": 60}
    style(figure, 620, updatemenus=[parameters, buttons(views, y=1.02)], legend=legend, margin=margin)
    return figure.update_layout(title={"y": 0.97, "yanchor": "top", "x": 0, "font": {"size": 13}}, dragmode="zoom")


def _kinds(first: Masks, second: Masks, name: str) -> np.ndarray:
    """uint8 [outputs, inputs]: 0 for the first task only, 1 for the second only, 2 for both, 3 for neither."""
    for masks in (first, second):
        if name not in masks:
            raise ValueError(f"There is no mask named {name!r}; the names are {', '.join(masks)}.")
    one, other = first[name].flatten(1).numpy(), second[name].flatten(1).numpy()
    return np.select([one & other, one, other], [2, 0, 1], 3).astype(np.uint8)


class _Layer:
    """One layer's part of the figure."""

    def __init__(self, kinds: np.ndarray, label: str, names: tuple[str, str], palette: tuple[str, ...]):
        self.kinds, self.label, self.names = kinds, label, names
        self.palette = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette])  # [4, RGB]
        self.rows, self.columns = kinds.shape
        self.row_edges, self.column_edges = _edges(self.rows), _edges(self.columns)
        present = np.stack([kinds == kind for kind in range(4)], -1).astype(np.int64)
        by_row = np.add.reduceat(present, self.row_edges[:-1], axis=0)
        self.counts = np.add.reduceat(by_row, self.column_edges[:-1], axis=1)  # [block rows, block columns, 4]

    def blocks(self) -> dict:
        """Make the heatmap that is only there to be hovered over."""
        return {
            "x": [_centre(a, b) for a, b in zip(self.column_edges[:-1], self.column_edges[1:], strict=True)],
            "y": [_centre(a, b) for a, b in zip(self.row_edges[:-1], self.row_edges[1:], strict=True)],
            "z": self.counts[..., :3].sum(-1).tolist(),
            "customdata": self.counts.tolist(),
        }

    def overview(self) -> str:
        """Colour each block in the mixture of its weights' colours, the fullest block of the layer in full colour."""
        sizes = self.counts.sum(-1, keepdims=True)
        shares = self.counts[..., :3] / sizes  # of the three kinds that are kept
        fullest = max(shares.sum(-1).max(), 1e-9)
        mixed = shares / fullest @ (self.palette[:3] - self.palette[3]) + self.palette[3]
        return png_address(Image.fromarray(mixed.round().astype(np.uint8), "RGB"))

    def weights(self) -> str:
        """Draw one pixel a weight."""
        image = Image.fromarray(self.kinds, "P")
        image.putpalette(self.palette.flatten().tolist())
        return png_address(image, bits=2)

    def place(self) -> dict:
        common = {"xref": "x", "yref": "y", "sizing": "stretch", "layer": "below", "xanchor": "left", "yanchor": "top"}
        return {**common, "x": -0.5, "y": -0.5, "sizex": self.columns, "sizey": self.rows}

    def axes(self) -> dict:
        x = {"range": [-0.5, self.columns - 0.5], "title": {"text": f"from unit (of {self.columns})"}}
        y = {"range": [self.rows - 0.5, -0.5], "title": {"text": f"to unit (of {self.rows})"}}
        plain = {"showgrid": False, "zeroline": False}
        return {"xaxis": {**x, **plain}, "yaxis": {**y, **plain}}

    def title(self) -> dict:
        shares = 100 * self.counts.sum((0, 1)) / self.kinds.size
        only = ", ".join(f"only {name} {share:.1f}%" for name, share in zip(self.names, shares[:2], strict=True))
        return {"text": f"{self.label}: both {shares[2]:.1f}%<br>{only}"}  # two lines, for a phone

    def choice(self) -> tuple[dict, dict]:
        """List the changes that choosing this layer makes: of the heatmap, of the layout."""
        traces = {name: [value] for name, value in self.blocks().items()}
        layout: dict = {"title.text": self.title()["text"]}
        for i, source in enumerate((self.overview(), self.weights())):
            layout |= {f"images[{i}].source": source}
            layout |= {f"images[{i}].{name}": value for name, value in self.place().items() if "size" in name}
        for axis, settings in self.axes().items():
            layout |= {f"{axis}.range": settings["range"], f"{axis}.title.text": settings["title"]["text"]}
        return traces, layout


def _kind_names(names: tuple[str, str]) -> list[str]:
    return [f"only {names[0]}", f"only {names[1]}", "both", "neither"]


def _hover(names: tuple[str, str]) -> str:
    lines = [f"{kind}: %{{customdata[{i}]}}" for i, kind in enumerate(_kind_names(names))]
    return "around %{x:.0f} → %{y:.0f}<br>" + "<br>".join(lines) + "<extra></extra>"


def _edges(size: int) -> np.ndarray:
    return np.linspace(0, size, min(size, BLOCKS) + 1).round().astype(int)


def _centre(first: int, end: int) -> float:
    """The centre of the indices from first to end - 1."""
    return float(first + end - 1) / 2


def png_address(image: Image.Image, **options: int) -> str:
    """Encode the image as an address, for pages that need no other file."""
    data = io.BytesIO()
    image.save(data, "PNG", **options)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
