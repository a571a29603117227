"""The three sizes of every experiment: smoke to see that it runs, laptop for its effects, paper as in the paper."""

from __future__ import annotations

import os
from typing import Any

from modules_lib.support.checks import check_choice

SCALES = ("smoke", "laptop", "paper")


def default_scale() -> str:
    """Find the scale that chapters take when none is given: the environment variable MODULES_SCALE, else laptop."""
    return check_choice("scale", os.environ.get("MODULES_SCALE") or "laptop", SCALES)


def at_scale(scale: str | None, **values: Any) -> Any:
    """Choose the value that is given for a scale, by default the one that chapters take.

    Raises:
        ValueError: there is no such scale.
    """
    return values[check_choice("scale", scale or default_scale(), tuple(values))]
