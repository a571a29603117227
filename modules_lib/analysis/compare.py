"""Comparisons of masks: the weights that tasks share, that one has alone, that all have (appendix B.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_, or_

import pandas as pd
import torch
from torch import nn

from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import evaluation, subnetwork

Metric = Callable[[nn.Module], float]


def sharing(target: Masks, *references: Masks, name: str | None = None) -> float:
    """Compute the proportion of the target's weights that the references use too (equation 14).

    Args:
        target: the masks t.
        references: the masks of the other tasks; r is the logical or of all of them.
        name: one masked tensor, or None for the total over all of them.

    Returns:
        sum(t * r) / sum(t), in [0, 1]; nan where the target keeps no weights.

    Raises:
        ValueError: no reference is given, the masks are of different models, or there is no such name.
    """
    if not references:
        raise ValueError("Sharing needs at least one reference mask to compare with; none was given.")
    own = target.count(name)
    return (target & reduce(or_, references)).count(name) / own if own else math.nan


def iou(first: Masks, second: Masks, name: str | None = None) -> float:
    """Compute intersection over union: the weights that both keep, as a proportion of those that either keeps.

    Returns:
        a number in [0, 1], the same both ways round; nan where neither keeps a weight.

    Raises:
        ValueError: the masks are of different models, or there is no such name.
    """
    either = (first | second).count(name)
    return (first & second).count(name) / either if either else math.nan


def sharing_matrix(masks: Mapping[str, Masks], name: str | None = None) -> pd.DataFrame:
    """Tabulate the :func:`sharing` of every task (rows) with every other (columns), in one tensor or in total.

    Returns:
        [tasks, tasks], 1 on the diagonal where a task keeps any weight.
    """
    cells = {task: {other: sharing(masks[task], masks[other], name=name) for other in masks} for task in masks}
    return pd.DataFrame.from_dict(cells, orient="index", columns=list(masks))


def exclusive(masks: Mapping[str, Masks], task: str) -> Masks:
    """Select the weights that this task keeps and no other does.

    Raises:
        ValueError: there is no such task, or no other.
    """
    others = [other for name, other in masks.items() if name != task]
    if task not in masks or not others:
        raise ValueError(f"Exclusive to {task!r} against what? There are masks of {', '.join(masks) or 'no task'}.")
    return masks[task] & ~reduce(or_, others)


def common(masks: Mapping[str, Masks]) -> Masks:
    """Select the weights that all tasks keep.

    Raises:
        ValueError: there is no task.
    """
    if not masks:
        raise ValueError("There are no masks to compare; give those of at least one task.")
    return reduce(and_, masks.values())


def by_layer(masks: Mapping[str, Masks]) -> pd.DataFrame:
    """Count the weights that each task keeps, shares with all others, and has for itself, by tensor and in total.

    Returns:
        a row for every task and tensor (``total`` for all): ``kept`` (weights), ``of`` (all there are), ``sharing``
        (eq. 14 with all other tasks as references; nan for a single task), ``exclusive`` (weights).
    """
    rows = []
    for task, own in masks.items():
        others = [other for name, other in masks.items() if name != task]
        for name in [*own, None]:
            shared = sharing(own, *others, name=name) if others else math.nan
            alone = exclusive(masks, task).count(name) if others else own.count(name)
            row = {"task": task, "layer": name or "total", "kept": own.count(name), "of": own.size(name)}
            rows.append(row | {"sharing": shared, "exclusive": alone})
    return pd.DataFrame(rows)


def measured(metric: Metric, network: nn.Module) -> float:
    """Apply a metric to a network, and give its value as a number.

    Raises:
        ValueError: the metric gives anything but one number.
    """
    value = metric(network)
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value.detach())
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise ValueError(f"The metric gave a {type(value).__name__}{shape}; it must give one number.") from None


@torch.no_grad()
def evaluate(
    model: nn.Module,
    masks: Mapping[str, Masks],
    metrics: Metric | Mapping[str, Metric],
    removed: str = "zero",
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the model as it is, and under masks: of tasks, inverted, combined in any way; all in evaluation mode.

    ``{"add": add, "without add": ~add, "rest of full": full & ~add}`` gives three rows beside "unmasked".

    Args:
        model: any torch module.
        masks: name -> the masks to measure under.
        metrics: model -> number, one or several by name.
        removed, seed: what stands in for removed weights (:func:`~modules_lib.masking.subnetworks.subnetwork`).

    Returns:
        a row for "unmasked" and for each of the masks, a column for each metric ("value" for one without a name).
    """
    named = metrics if isinstance(metrics, Mapping) else {"value": metrics}
    with evaluation(model):
        rows = {"unmasked": {name: measured(metric, model) for name, metric in named.items()}}
    for label, mask in masks.items():
        network = subnetwork(model, mask, removed, seed)
        rows[label] = {name: measured(metric, network) for name, metric in named.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(named))
