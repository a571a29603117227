"""The figures of section 5: the classes that a CNN takes images for, with and without the weights of one class.

Results are tables of the experiment "cifar10"; confusion matrices are normalised per true class.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import (
    AMBER,
    BLUE,
    DIVERGING,
    GREY,
    GROUPS,
    ORANGE,
    SEQUENTIAL,
    SKY,
    buttons,
    menu,
    panels,
    slider,
    style,
)
from modules_lib.datasets.images import CLASSES
from reproduction.experiments.cifar import RELEASED
from reproduction.figures.bars import PUBLISHED, bar_or_diamond, both, one_legend_entry_each
from reproduction.figures.names import Results
from reproduction.protocol.stage import stage_with
from reproduction.runs.measures import by_layer, confusions, own_and_others, plus_minus, removed_classes


def reference(published: Results, run: Results) -> go.Figure:
    """Draw Figure 17: the classes that images are taken for, unmasked and under the reference mask, in per cent."""
    panels = [
        (f"{name}, {kind}", confusions(frame, stage))
        for kind, frame in both("cifar10", published, run)
        for stage, name in (("full", "reference mask"), ("unmasked", "no mask"))
    ]
    figure = go.Figure(go.Heatmap(**_cells(panels[0][1]), x=list(CLASSES), y=list(CLASSES), coloraxis="coloraxis"))
    choices: list[tuple] = [
        (name, {key: [v] for key, v in _cells(m).items()}, {"title.text": name}) for name, m in panels
    ]
    axis = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 100, "showscale": False}
    return _square(figure, coloraxis=axis, **_chosen(choices))


def change(published: Results, run: Results, factor: float = 1.0) -> go.Figure:
    """Draw Figures 5 and 18: the change of confusions when the weights of the chosen class are gone, in points."""
    choices: list[tuple] = []
    for kind, frame in both("cifar10", published, run):
        before = confusions(frame, stage_with("full", factor))
        for name in removed_classes(frame, factor):
            cells = _cells(confusions(frame, stage_with(name, factor)), before)
            label = name if kind == PUBLISHED else f"{name} ({kind})"
            shown = f"without {label}"
            choices.append((shown, {key: [value] for key, value in cells.items()}, {"title.text": shown}))
    first = {key: value for key, [value] in choices[0][1].items()}
    figure = go.Figure(go.Heatmap(**first, x=list(CLASSES), y=list(CLASSES), coloraxis="coloraxis"))
    return _square(figure, coloraxis=_changes(), **_chosen(choices))


def changes(published: Results, run: Results, factor: float = 1.0) -> go.Figure:
    """Draw Figure 18 at a glance: the changes of all classes as small maps, of the run where there is one."""
    [*_, (kind, frame)] = both("cifar10", published, run)
    before, names = confusions(frame, stage_with("full", factor)), removed_classes(frame, factor)
    return _small_maps(
        {f"without {name}": _cells(confusions(frame, stage_with(name, factor)), before) for name in names}
    )


def change_beside(name: str, published: Results, run: Results) -> go.Figure:
    """Draw Figure 5 of one class: the change of confusions without its weights, published and of the run."""
    return _small_maps(
        {
            f"without {name}, {kind}": _cells(confusions(frame, name), confusions(frame, "full"))
            for kind, frame in both("cifar10", published, run)
        }
    )


def _small_maps(maps: dict[str, dict]) -> go.Figure:
    """Changes of confusions by title, in two columns."""
    rows = -(-len(maps) // 2)
    figure = panels(list(maps), columns=2, horizontal_spacing=0.06, vertical_spacing=0.25 / rows)
    for i, cells in enumerate(maps.values()):
        cells |= {"text": None, "texttemplate": None}
        trace = go.Heatmap(**cells, x=list(CLASSES), y=list(CLASSES), coloraxis="coloraxis")
        figure.add_trace(trace, i // 2 + 1, i % 2 + 1)
    figure.update_yaxes(autorange="reversed", showticklabels=False)
    figure.update_xaxes(showticklabels=False)
    figure.update_yaxes(title="true class", col=1)
    figure.update_xaxes(title="taken for", row=rows)
    margin = {"l": 30, "r": 20, "t": 40, "b": 30}
    return style(figure, 60 + 260 * rows, coloraxis=_changes(), margin=margin)


def taken_for(published: Results, run: Results) -> go.Figure:
    """Draw how much more often images of a class (rows) are taken for each class when its weights are gone [points].

    Where there is a choice, a slider chooses the beta of published results, or the run.
    """
    choices: list[tuple] = []
    for kind, frame in both("cifar10", published, run):
        for factor in (1.0, RELEASED):
            names = removed_classes(frame, factor)
            if not names:
                continue
            before, own = confusions(frame, stage_with("full", factor)), [CLASSES.index(name) for name in names]
            after = np.stack([confusions(frame, stage_with(CLASSES[i], factor))[:, i] for i in own], 1)
            cells = _cells(after, before[:, own], own) | {"y": names}
            shown = f"{factor:g}" if kind == PUBLISHED else kind if factor == 1 else f"{kind}, {factor:g}"
            choices.append((shown, {key: [value] for key, value in cells.items()}))
    first = {key: value for key, [value] in choices[0][1].items()}
    figure = go.Figure(go.Heatmap(**first, x=list(CLASSES), coloraxis="coloraxis"))
    steps = [{"label": label, "method": "restyle", "args": [cells]} for label, cells in choices]
    pad = {"pad": {"t": 85, "l": 6, "r": 14}}  # below the title of the axis
    sliders = [slider("beta, times the paper's: ", steps, 0) | pad] if len(steps) > 1 else []
    figure = _square(figure, "class whose weights are gone", coloraxis=_changes(), sliders=sliders)
    return figure.update_layout(margin={"t": 30, "b": 150 if sliders else 90})


def drops(published: Results, run: Results) -> go.Figure:
    """Draw the fall of true-positive rates: that of the removed class, and the others' mean change, at each beta."""
    figure = go.Figure()
    for kind, frame in both("cifar10", published, run):
        for factor, colours in ((1.0, (BLUE, SKY)), (RELEASED, (ORANGE, AMBER))):
            names = removed_classes(frame, factor)
            if not names:
                continue
            own, others = own_and_others(frame, factor)  # [seeds, removed]
            at = "the paper's beta" if factor == 1 else f"{factor:g} times that, as released"
            for values, of, colour in ((own, "its own", colours[0]), (others, "others, either way", colours[1])):
                table = pd.DataFrame(100 * values, columns=names)
                figure.add_trace(bar_or_diamond(table, kind, f"{of}: {at}", colour, "points", 1))
    figure.update_yaxes(title="change of the true-positive rate [points]")
    figure.update_xaxes(title={"text": "class whose weights are gone", "standoff": 5})
    legend = {"orientation": "h", "x": 0, "y": -0.31, "yanchor": "top"}
    return style(one_legend_entry_each(figure), 460, legend=legend, **GROUPS)


def removed(published: Results, run: Results, factor: float = 1.0) -> go.Figure:
    """Draw Figure 16: the part of the reference's weights that goes with a class, by class or layer, in per cent."""
    figure = go.Figure()
    by: list[str] = []
    for kind, frame in both("cifar10", published, run):
        kept = by_layer(frame, stage_with("full", factor), "kept")
        names = removed_classes(frame, factor)
        parts = {name: 100 * by_layer(frame, stage_with(name, factor), "removed") / kept for name in names}
        noise = 100 * by_layer(frame, stage_with("again", factor), "removed")["total"] / kept["total"]
        total = pd.DataFrame({name: part["total"] for name, part in parts.items()} | {"again": noise})
        mean = pd.concat(parts.values()).groupby(level="seed").mean()  # over classes
        layers = mean.drop(columns="total")
        for values, name in ((total, "class"), (layers, "layer")):
            by.append(name)
            figure.add_trace(bar_or_diamond(values, kind, f"by {name}", GREY, "% removed", 1))
    figure.update_traces(showlegend=False)
    figure.update_xaxes(title={"text": "class or layer whose weights are removed", "standoff": 5})
    choices: list[tuple] = [
        (f"by {name}", {"visible": [owner == name for owner in by]}, {}) for name in ("class", "layer")
    ]
    for trace, owner in zip(figure.data, by, strict=True):
        trace.visible = owner == "class"
    figure.update_yaxes(title="of the reference's weights [%]", rangemode="tozero")
    return style(figure, 380, updatemenus=[buttons(choices, y=1.02)], **GROUPS)


def compared(before: np.ndarray, after: np.ndarray) -> go.Figure:
    """Draw the difference of two confusion matrices [class, taken for] of one network, in points."""
    cells = _cells(after[None], before[None])
    figure = go.Figure(go.Heatmap(**cells, x=list(CLASSES), y=list(CLASSES), coloraxis="coloraxis"))
    return _square(figure, coloraxis=_changes())


def _cells(after: np.ndarray, before: np.ndarray | None = None, rows: list[int] | None = None) -> dict:
    """The cells of a heatmap of confusions [seeds, class, taken for]: their means, or the changes between two."""
    values = 100 * (after if before is None else after - before)
    mean = values.mean(0)
    spread = values.std(0, ddof=1) if len(values) > 1 else np.full(mean.shape, np.nan)
    was = None if before is None else 100 * before.mean(0)
    is_ = 100 * after.mean(0)
    names = [CLASSES[i] for i in rows or range(len(CLASSES))]
    said = [
        [_said(name, CLASSES[j], mean[i, j], spread[i, j], was[i, j] if was is not None else None, is_[i, j])
         for j in range(len(CLASSES))]
        for i, name in enumerate(names)
    ]  # fmt: skip
    text = [[f"{value:.0f}" if abs(value) > 0.5 else "" for value in row] for row in mean]
    template = {"texttemplate": "%{text}", "hovertemplate": "%{customdata}<extra></extra>"}
    return {"z": mean.round(2).tolist(), "text": text, "customdata": said, **template}


def _said(name: str, other: str, mean: float, spread: float, was: float | None, now: float) -> str:
    if was is None:
        return f"{name} taken for {other}: {plus_minus(mean, spread)} %"
    return f"{name} taken for {other}:<br>{was:.1f} % before, {now:.1f} % after<br>{plus_minus(mean, spread)} points"


def _chosen(choices: list[tuple]) -> dict:
    """A menu where there is a choice, and the first choice as the title, which the menu then changes."""
    shown = {"text": choices[0][2]["title.text"], "x": 0, "y": 0.98, "yanchor": "top", "font": {"size": 13}}
    return {"updatemenus": [menu(choices)] if len(choices) > 1 else [], "title": shown}


def _changes() -> dict:
    return {"colorscale": DIVERGING, "cmin": -50, "cmax": 50, "cmid": 0, "showscale": False}


def _square(figure: go.Figure, rows: str = "true class", **layout: object) -> go.Figure:
    figure.update_yaxes(autorange="reversed", title=rows)
    figure.update_xaxes(title={"text": "taken for", "standoff": 5}, tickangle=-40)
    margin = {"l": 110, "r": 20, "t": 80, "b": 90}  # above the map a menu, above that the title
    return style(figure, 580, margin=margin, **layout)
