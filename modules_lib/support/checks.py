"""Refusing bad values in one sentence: what was given, what is allowed, and an example."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from torch import nn


def check_count(name: str, value: Any, least: int = 1) -> int:
    """The value, if it is a whole number of at least ``least``.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return int(value)


def check_number(
    name: str, value: Any, example: str, least: float = 0.0, above: bool = False, below: float = math.inf
) -> float:
    """The value, if it is a finite number of at least ``least``, or above it, and below ``below``.

    Raises:
        ValueError: it is not.
    """
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or (above and value == least) or value >= below:
        bound = f"above {least:g}" if above else f"of at least {least:g}" if math.isfinite(least) else "that is finite"
        bound += f" and below {below:g}" if math.isfinite(below) else ""
        raise ValueError(f"{name} is {value!r}; it must be a number {bound}, for example {example}.")
    return float(value)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices.

    Raises:
        ValueError: it is not.
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"Unknown {name} {value!r}; it must be one of {', '.join(choices)}.")
    return value


def check_slices(batch: int, samples: int) -> None:
    """That a batch can be cut into a slice for each mask sample.

    Raises:
        ValueError: it cannot.
    """
    if batch < 1 or batch % samples:
        nearest = batch // samples * samples or samples
        raise ValueError(
            f"A batch of {batch} cannot be cut into {samples} equal slices, one for each mask sample; "
            f"use a batch divisible by {samples}, for example {nearest}."
        )


def check_one_type(parameters: dict[str, nn.Parameter]) -> None:
    """Raises ValueError if parameters, by name, are of several types."""
    names = {str(parameter.dtype).removeprefix("torch."): name for name, parameter in parameters.items()}
    if len(names) > 1:
        raise ValueError(
            f"The parameters to mask are of several types ({', '.join(f'{n} in {t}' for t, n in names.items())}); "
            "convert the model to one, for example with model.float(), or leave some out with `where`."
        )


def check_initialized(model: nn.Module) -> None:
    """Raises ValueError if a parameter or buffer has no values yet."""
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"{name} has no values yet, since the model has lazily initialised modules; run it once on a batch "
                "and train it first."
            )
