"""The figures of section 4: systematic generalisation on SCAN. Results are tables of the experiment "scan"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import AMBER, COLOURS, GREEN, GREY, GROUPS, PURPLE, buttons, style
from modules_lib.datasets.scan import TRAIN_ACTIONS, token_name
from modules_lib.masking.masks import Masks
from reproduction.experiments.scan import OUTPUT, TOKENS
from reproduction.experiments.transformer.on_scan import HARDER, alone, heads_of
from reproduction.figures.bars import PUBLISHED, RUN, bar_or_diamond, both, one_legend_entry_each
from reproduction.figures.names import Results
from reproduction.runs.measures import SPLIT_NAMES, by_layer, heads_kept, outcome, plus_minus, removed_for_token, spread

MASKS = {"full": "full task", **SPLIT_NAMES}
KINDS = ("not needed by any split", "kept", "removed")
KIND_COLOURS = ("#f0f0f0", "#9ecae1", "#08306b")


def accuracy_per_split(published: Results, run: Results) -> go.Figure:
    """Draw Figure 4a: exact matches on each split's test set, unmasked, under the full task's mask and its own."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        for name, colour, stages in (
            ("no mask", GREY, dict.fromkeys(SPLIT_NAMES, "unmasked")),
            ("full-task mask", GREEN, dict.fromkeys(SPLIT_NAMES, "full")),
            ("mask of the split itself", AMBER, {split: split for split in SPLIT_NAMES}),
        ):
            values = pd.DataFrame({SPLIT_NAMES[split]: outcome(frame, stage, split) for split, stage in stages.items()})
            figure.add_trace(bar_or_diamond(100 * values, kind, name, colour, "% exactly right", 1))
    figure.update_yaxes(title="exactly right [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "test set of the split", "standoff": 5})
    return style(one_legend_entry_each(figure), 400, **GROUPS)


def accuracy_by_length(published: Results, run: Results) -> go.Figure:
    """Draw exact matches by the number of actions, under every mask, over all commands; the run's are dotted."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        for stage, name in {"unmasked": "no mask", **MASKS}.items():
            chosen = frame[(frame["stage"] == stage) & (frame["metric"] == "correct by length")]
            summary = spread(100 * chosen.pivot(index="seed", columns="length", values="value"))
            figure.add_scatter(
                x=[int(length) for length in summary.index],
                y=summary["mean"],
                mode="lines+markers" if kind == PUBLISHED else "lines",
                line={"color": COLOURS.get(stage, GREY), "width": 2, "dash": None if kind == PUBLISHED else "dot"},
                marker={"size": 5},
                name=name,
                legendgroup=name,
                customdata=[plus_minus(*row) for row in summary.to_numpy()],
                meta={"source": kind},
                hovertemplate=f"%{{x}} actions: %{{customdata}} % exactly right<extra>{name}, {kind}</extra>",
            )
    one_legend_entry_each(figure)
    if both("scan", published, {}) and both("scan", {}, run):
        line = {"color": GREY, "dash": "dot", "width": 2}
        figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name=RUN)
    label = {"text": "beyond: only tested<br>in the length split", "align": "left", "font": {"size": 11}}
    above = {"yanchor": "bottom", "xshift": -4}  # the plot, where no curve is
    line = {"color": GREY, "dash": "dash", "width": 1}
    figure.add_vline(TRAIN_ACTIONS + 1, line=line, annotation=label | above, annotation_position="top right")
    figure.update_yaxes(title="exactly right [%]", range=[0, 104])
    longest = max(max(trace.x) for trace in figure.data if trace.x[0] is not None)
    figure.update_xaxes(title={"text": "actions that a command asks for", "standoff": 5}, range=[0, longest + 1])
    return style(figure, 420)


def removed_per_token(published: Results, run: Results) -> go.Figure:
    """Draw Figure 4b in numbers: the part of each token's needed output weights that each mask removes."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        for split, name in SPLIT_NAMES.items():
            values = 100 * removed_for_token(frame, split).rename(columns=token_name)
            figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[split], "% removed", 1))
    figure.update_yaxes(title="removed, of what any split needs [%]", rangemode="tozero")
    tokens = [token_name(token) for token in TOKENS]
    labels = [token.replace(" ", "<br>") for token in tokens]  # a phone is narrow
    figure.update_xaxes(title={"text": "what the weights write", "standoff": 5}, tickangle=0)
    figure.update_xaxes(tickvals=tokens, ticktext=labels)
    return style(one_legend_entry_each(figure), 400, **GROUPS)


def removed_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw the proportion of each layer's weights that a mask removes, in per cent."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        size = by_layer(frame, "unmasked", "kept")
        for stage, name in MASKS.items():
            values = 100 * (1 - by_layer(frame, stage, "kept") / size)
            figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[stage], "% removed", 1))
    figure.update_yaxes(title="removed [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "layer", "standoff": 5}, tickangle=-40)
    legend = {"orientation": "h", "x": 0, "y": -0.33, "yanchor": "top"}
    return style(one_legend_entry_each(figure), 480, legend=legend, **GROUPS)


def beside_alone(published: Results, run: Results) -> go.Figure:
    """Draw exact matches on each split's test set, under its mask and by a network trained on the split alone."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        for name, colour, stages in (
            ("full-task mask", GREEN, dict.fromkeys(HARDER, "full")),
            ("mask of the split itself", AMBER, {split: split for split in HARDER}),
            ("trained on the split alone", PURPLE, {split: alone(split) for split in HARDER}),
        ):
            values = pd.DataFrame({SPLIT_NAMES[split]: outcome(frame, stage, split) for split, stage in stages.items()})
            figure.add_trace(bar_or_diamond(100 * values, kind, name, colour, "% exactly right", 1))
    figure.update_yaxes(title="exactly right [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "test set of the split", "standoff": 5})
    return style(one_legend_entry_each(figure), 400, **GROUPS)


def heads_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw how many heads of each attention layer a split's mask over heads keeps."""
    figure = go.Figure()
    for kind, frame in both("scan", published, run):
        for split, name in SPLIT_NAMES.items():
            values = heads_kept(frame, heads_of(split))
            figure.add_trace(bar_or_diamond(values, kind, name, COLOURS[split], "heads kept", 1))
    figure.update_yaxes(title="heads kept", rangemode="tozero")
    figure.update_xaxes(title={"text": "attention layer", "standoff": 5}, tickangle=-40)
    legend = {"orientation": "h", "x": 0, "y": -0.5, "yanchor": "top"}
    return style(one_legend_entry_each(figure), 480, legend=legend, **GROUPS)


def output_map(masks: Mapping[str, Masks], first: str = "add-jump") -> go.Figure:
    """Draw Figure 4b: every weight of the output layer, kept or removed by a split's mask, or needed by no split.

    Args:
        masks: of a run, by stage.
        first: the split that is shown first; a menu changes it.
    """
    kept = {split: masks[split][OUTPUT].numpy() for split in SPLIT_NAMES}  # [tokens, state]
    needed = np.any(list(kept.values()), axis=0)
    kinds = {split: np.where(needed, 2 - kept[split], 0) for split in SPLIT_NAMES}
    share = {split: (kinds[split] == 2).sum(1) / needed.sum(1).clip(min=1) for split in SPLIT_NAMES}
    rows = [token_name(token) for token in TOKENS]
    parts = {
        split: [f"{row} {part:.0%}" for row, part in zip(rows, share[split], strict=True)] for split in SPLIT_NAMES
    }
    thirds = [[place, colour] for i, colour in enumerate(KIND_COLOURS) for place in (i / 3, (i + 1) / 3)]
    figure = go.Figure(
        go.Heatmap(
            z=kinds[first].tolist(),
            y=rows,
            customdata=_words(kinds[first]),
            colorscale=thirds,
            zmin=0,
            zmax=2,
            showscale=False,
            xgap=0.5,
            ygap=2,
            hovertemplate="unit %{x} → %{y}<br>%{customdata}<extra></extra>",
        )
    )
    for name, colour in zip(KINDS, KIND_COLOURS, strict=True):
        marker = {"symbol": "square", "size": 12, "color": colour, "line": {"width": 1, "color": GREY}}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=name)
    order = [first, *(split for split in SPLIT_NAMES if split != first)]
    choices: list[tuple] = []
    for split in order:
        traces = {"z": [kinds[split].tolist()], "customdata": [_words(kinds[split])]}
        layout = {"yaxis.ticktext": parts[split], "title.text": f"mask: {SPLIT_NAMES[split]}"}
        choices.append((SPLIT_NAMES[split], traces, layout, [0]))
    figure.update_yaxes(autorange="reversed", tickvals=rows, ticktext=parts[first], title="token, part removed")
    figure.update_xaxes(title={"text": "unit of the decoder's last layer", "standoff": 5}, showgrid=False)
    margin = {"l": 130, "r": 20, "t": 90, "b": 60}
    title = {"text": choices[0][2]["title.text"], "x": 0, "y": 0.97, "yanchor": "top", "font": {"size": 13}}
    return style(figure, 400, updatemenus=[buttons(choices, y=1.04)], margin=margin, title=title)


def _words(kinds: np.ndarray) -> list[list[str]]:
    return [[KINDS[kind] for kind in row] for row in kinds]
