"""Refusals of bad values in one sentence: the value, the values that are allowed, and an example."""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Check that a value is a whole number of at least ``least``, and return it.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}.")
    return int(value)


def check_number(
    name: str, value: Any, example: str, least: float = 0.0, above: bool = False, below: float = math.inf
) -> float:
    """Check that a value is a finite number of at least ``least``, or above it, and below ``below``, and return it.

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
    """Check that a value is one of the choices, and return it.

    Raises:
        ValueError: it is not.
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"Unknown {name} {value!r}; it must be one of {', '.join(choices)}.")
    return value


def check_slices(batch: int, samples: int) -> None:
    """Check that a batch can be cut into a slice for each mask sample.

    Raises:
        ValueError: it cannot.
    """
    if batch < 1 or batch % samples:
        nearest = batch // samples * samples or samples
        raise ValueError(
            f"A batch of {batch} cannot be cut into {samples} equal slices, one for each mask sample; "
            f"use a batch divisible by {samples}, for example {nearest}."
        )
