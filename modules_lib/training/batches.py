"""Batches in whatever form they are given, as a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from modules_lib.support.trees import map_tensors
from modules_lib.training.loops import Batch

# A function of the step, or anything that gives (inputs, targets) one after another, again and again: a DataLoader, a
# list. A tuple or list of inputs is given to the model as several arguments, a dict as named ones.
Batches = Callable[[int], tuple[Any, Any]] | Iterable[tuple[Any, Any]]


def as_function(name: str, batches: Batches, device: Any = None) -> Batch:
    """Turn batches into a function of the step, whose tensors are on a device.

    Args:
        name: the task's, for messages.

    Raises:
        ValueError: on a call, if the batches have come to an end for good, or one is not (inputs, targets).
    """
    if callable(batches):
        function = batches
    else:
        endless, taken = _endless(name, batches), 0

        def function(step: int) -> tuple[Any, Any]:
            nonlocal taken
            for _ in range(taken, step):  # a training that goes on has had these
                next(endless)
            taken = max(taken, step) + 1
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
