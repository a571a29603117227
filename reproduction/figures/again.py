"""The figures on masks that are found twice, at two prices, and in parts of the network."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from modules_lib.analysis.theme import AMBER, GREEN, GROUPS, PURPLE, panels, style
from reproduction.experiments.again import HALVES, again, dearer, in_half, with_ends
from reproduction.figures import bars
from reproduction.figures.names import MASKS, Results
from reproduction.runs.measures import PAIR_NAMES, TASKS, agreement

# Name of results -> the name of the network in figures.
OPERATIONS = {"addmul-fnn": "+ and ×, FNN", "addmul-lstm": "+ and ×, LSTM"}
NAMES = {**OPERATIONS, "double-fnn": "+ and +, FNN"}


def agreement_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw how far two masks agree (intersection over union), by layer [%]: of one subtask, at two prices, of two."""
    shown = bars.shown(published, run, NAMES)
    figure = panels([NAMES[name] for name in shown], vertical_spacing=0.32 / max(3, len(shown)))
    for row, name in enumerate(shown, 1):
        tasks = list(subtasks(name))
        kinds: dict[str, tuple[list[tuple[str, ...]], str]] = {
            "found twice": ([(task, again(task)) for task in tasks], GREEN),
            "at three times beta": ([(task, dearer(task)) for task in tasks], AMBER),
            "the two subtasks": ([tuple(tasks)], PURPLE),
        }
        for kind, frame in bars.both(name, published, run):
            for label, (pairs, colour) in kinds.items():
                values, alone = (_mean(frame, pairs, metric) for metric in ("iou", "iou by chance"))
                figure.add_trace(bars.bar_or_diamond(values, kind, label, colour, "% agree", 1), row=row, col=1)
                if kind == bars.PUBLISHED:
                    figure.add_traces(bars.lines_on_bars(alone, label, "by chance"), rows=row, cols=1)
    figure.update_yaxes(title="agree [%]", range=[0, 104])
    figure.update_xaxes(title={"text": "layer", "standoff": 5}, row=len(shown), col=1)
    return bars.one_legend_entry_each(style(figure, 250 * len(shown) + 90, **GROUPS))


def _mean(frame: pd.DataFrame, pairs: list[tuple[str, ...]], metric: str) -> pd.DataFrame:
    """The mean over pairs of stages, in per cent: seeds in rows, layers in columns."""
    found = [agreement(frame, first, second, metric).drop(columns="total") for first, second in pairs]
    return 100 * sum(found[1:], start=found[0]) / len(found)


def subtasks(name: str) -> dict[str, str]:
    """List the subtasks of results, with their names."""
    return TASKS if name in OPERATIONS else PAIR_NAMES


def without_ends(published: Results, run: Results) -> go.Figure:
    """Draw accuracy on each operation without a module, and with the full task's first and last layer [%]."""
    masks: dict[str, str] = {}
    for task in TASKS:
        label = MASKS[f"not {task}"]
        masks |= {f"not {task}": label, with_ends(task): f"{label},<br>with ends"}
    return bars.accuracy_panels(published, run, OPERATIONS, TASKS, masks)


def in_halves(published: Results, run: Results) -> go.Figure:
    """Draw accuracy on each operation under a module's mask in all layers, and in either half of them [%]."""
    masks: dict[str, str] = {}
    for task in TASKS:
        masks |= {task: MASKS[task]} | {in_half(task, half): f"{MASKS[task]}<br>{half}" for half in HALVES}
    return bars.accuracy_panels(published, run, OPERATIONS, TASKS, masks)
