"""From a trained model and named tasks to a mask for each: the whole method in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Unpack

from torch import nn
from tqdm.auto import tqdm

from modules_lib.support.checks import check_number
from modules_lib.support.trees import batch_size, map_tensors
from modules_lib.training.alpha_search import Accuracy, Choice, choose_alpha
from modules_lib.training.loops import Batch, Loss
from modules_lib.training.mask_training import MaskTraining, Settings
from modules_lib.training.task_masks import TaskMasks

# A function of the step, or anything that gives (inputs, targets) one after another, again and again: a DataLoader, a
# list. A tuple or list of inputs is given to the model as several arguments, a dict as named ones.
Batches = Callable[[int], tuple[Any, Any]] | Iterable[tuple[Any, Any]]


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
        progress: show a bar for each task.
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
    if sum(given is not None for given in (alpha, beta, tolerance)) != 1:
        raise ValueError("Give exactly one of alpha, beta (batch size * alpha) and tolerance (which chooses alpha).")
    device = next(model.parameters()).device
    batch = {name: as_function(name, batches, device) for name, batches in tasks.items()}
    choice = None
    if tolerance is not None:
        choice = _chosen(model, batch, full, loss, accuracy, tolerance, training, progress)
        alpha = choice.alpha
    elif beta is not None:
        first = {name: function(0) for name, function in batch.items()}
        batch = {name: _begun(function, first[name]) for name, function in batch.items()}
        alpha = check_number("beta", beta, "1e-4 (beta = batch size * alpha)") / _batch_size(first)
    assert alpha is not None
    found = {full: choice.masks} if choice else {}
    for name in tasks:
        if name not in found:
            masked = training.masked(model, name)
            losses = training.of(masked, batch[name], loss, alpha)
            for _ in tqdm(losses, name, total=training.steps, unit="step", leave=False, disable=not progress):
                pass
            found[name] = masked.masks()
    return TaskMasks({name: found[name] for name in tasks}, alpha, choice)


def _begun(batch: Batch, first: tuple[Any, Any]) -> Batch:
    """The batches, of which the first has been taken."""
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


def as_function(name: str, batches: Batches, device: Any = None) -> Batch:
    """Batches as a function of the step, on a device.

    Args:
        name: the task's, for messages.

    Raises:
        ValueError: on a call, if the batches have come to an end for good, or one is not (inputs, targets).
    """
    if callable(batches):
        function = batches
    else:
        endless = _endless(name, batches)

        def function(step: int) -> tuple[Any, Any]:
            return next(endless)

    def batch(step: int) -> tuple[Any, Any]:
        pair = function(step)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"A batch of {name!r} is a {type(pair).__name__}; it must be a pair (inputs, targets).")
        inputs, targets = map_tensors(lambda tensor: tensor.to(device), tuple(pair))
        return inputs, targets

    return batch


def _endless(name: str, batches: Iterable[Any]) -> Iterator[Any]:
    given = 0
    while True:
        before = given
        for pair in batches:
            given += 1
            yield pair
        if given == before:
            raise ValueError(
                f"The batches of {name!r} ended after {given}, and going through them again gives none; give a list, a "
                "DataLoader or a function of the step instead."
            )
