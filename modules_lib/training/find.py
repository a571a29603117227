"""From a trained model and named tasks to a mask for each: the whole method in one call."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from torch import nn

from modules_lib.masking.selection import check_model
from modules_lib.support.checks import check_count, check_number
from modules_lib.support.trees import batch_size
from modules_lib.training.alpha_search import Accuracy, Choice, choose_alpha
from modules_lib.training.batches import Batches, as_function
from modules_lib.training.loops import Batch, Loss
from modules_lib.training.mask_training import MaskTraining, Settings
from modules_lib.training.task_masks import TaskMasks, check_names
from modules_lib.training.task_store import TaskStore
from modules_lib.training.tasks import TaskTraining


def find_masks(
    model: nn.Module,
    tasks: Mapping[str, Batches],
    loss: Loss,
    *,
    beta: float | None = None,
    alpha: float | None = None,
    tolerance: float | None = None,
    accuracy: Accuracy | None = None,
    full: str = "full",
    training: MaskTraining | None = None,
    store: str | Path | None = None,
    jobs: int = 1,
    progress: bool = True,
    **settings: Unpack[Settings],
) -> TaskMasks:
    """Find the weights that each task needs (section 2). The model is used as it is, and left in evaluation mode.

    The strength of the penalty is given in one of three ways: ``alpha``, on each logit; ``beta``, alpha times the batch
    size (appendix B); or ``tolerance``, from which :func:`~modules_lib.training.alpha_search.choose_alpha` finds it by
    the paper's rule.

    Args:
        model: any torch module, trained.
        tasks: name -> batches of (inputs, targets): a function of the step, or anything that can be gone through again
            and again, like a DataLoader or a list. Batches go to the model's device.
        loss: (outputs, targets) -> mean loss of a batch, a scalar.
        tolerance: how much accuracy a mask of the full task may cost.
        accuracy: model -> accuracy on the full task, in [0, 1]; for ``tolerance``.
        full: which of the tasks is the full one; for ``tolerance``.
        training: how masks are trained, for each task.
        store: a folder that keeps finished tasks and, every two minutes and on Ctrl-C, the state of the one under way;
            the same call goes on from there and finds the same masks, if its batches are functions of the step or come
            in the same order again.
        jobs: tasks that are trained at once, each in a process of its own, which is given the model, the batches and
            the loss: these must be such as :mod:`pickle` takes, functions of a module and not of a cell.
        progress: show how far all tasks are, and how long they will take.
        settings: those of :class:`~modules_lib.training.mask_training.MaskTraining`, by keyword, where they differ from
            ``training``: ``steps``, ``lr``, ``clip``, ``samples``, ``where``, ``seed``, ``precision``, ``sampler`` and
            others.

    Returns:
        the masks by task, and the alpha that they were trained with.

    Raises:
        ValueError: a setting is not allowed, not exactly one of alpha, beta and tolerance is given, a task's batches
            are none or end too soon, beta is given where their sizes differ, or a loss is not finite.
        TypeError: there is no such setting.
    """
    training = (training or MaskTraining()).changed(settings)
    if not tasks:
        raise ValueError("There is no task to find masks for; give at least one name with its batches.")
    check_names(tasks)
    check_count("jobs", jobs)
    check_model(model)
    if sum(given is not None for given in (alpha, beta, tolerance)) != 1:
        raise ValueError("Give exactly one of alpha, beta (batch size * alpha) and tolerance (which chooses alpha).")
    strength = {"alpha": alpha, "beta": beta, "tolerance": tolerance}
    given = {name: check_number(name, value, EXAMPLES[name]) for name, value in strength.items() if value is not None}
    masked = training.masked(model, "")  # refuses what cannot be masked, before anything is trained or stored
    batch = {name: as_function(name, batches, masked.logits.device) for name, batches in tasks.items()}
    kept = TaskStore(store, model, training, list(tasks), given) if store is not None else None
    choice = None
    if tolerance is not None:
        make = functools.partial(_chosen, model, batch, full, loss, accuracy, given["tolerance"], training, progress)
        choice = kept.choice(make) if kept else make()
        alpha = choice.alpha
    elif beta is not None:
        first = {name: function(0) for name, function in batch.items()}
        batch = {name: _begun(function, first[name]) for name, function in batch.items()}
        alpha = given["beta"] / _batch_size(first)
    assert alpha is not None
    found = {full: choice.masks} if choice else {}
    left = {name: tasks[name] if jobs > 1 else batch[name] for name in tasks if name not in found}
    found |= TaskTraining(model, loss, float(alpha), training, kept).all(left, jobs, progress)
    return TaskMasks({name: found[name] for name in tasks}, float(alpha), choice)


EXAMPLES = {"alpha": "1e-6", "beta": "1e-4 (beta = batch size * alpha)", "tolerance": "0.01"}


def _begun(batch: Batch, first: tuple[Any, Any]) -> Batch:
    """The batches, with the first, which was taken already, at step 0."""
    return lambda step: batch(step) if step else first


def _batch_size(first: Mapping[str, tuple[Any, Any]]) -> int:
    sizes = {name: batch_size(batch) for name, batch in first.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"The tasks' batches are of several sizes ({', '.join(f'{name}: {n}' for name, n in sizes.items())}), "
            "from which beta = batch size * alpha would make prices that differ; give alpha."
        )
    return next(iter(sizes.values()))


def _chosen(
    model: nn.Module,
    batch: Mapping[str, Batch],
    full: str,
    loss: Loss,
    accuracy: Accuracy | None,
    tolerance: float,
    training: MaskTraining,
    progress: bool,
) -> Choice:
    if full not in batch:
        raise ValueError(
            f"To choose alpha, the full task is needed, and there is no task {full!r} among {', '.join(batch)}; "
            "name it with full=."
        )
    if accuracy is None:
        raise ValueError("To choose alpha, accuracy is needed: a function of a model, its accuracy on the full task.")
    return choose_alpha(model, batch[full], loss, accuracy, tolerance=tolerance, training=training, progress=progress)
