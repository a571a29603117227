"""One testable part of a claim, and when it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # scipy.stats takes a second to import

from reproduction.runs.measures import UNITS, number

LEVEL = 0.95
HOLDS, UNDECIDED, FAILS, SINGLE = "holds", "undecided", "fails", "single run"
MARKS = {HOLDS: "✓", UNDECIDED: "?", FAILS: "✗"}


def bounds(values: pd.Series, level: float = LEVEL) -> tuple[float, float]:
    """Bound a mean from below and, separately, from above: each bound errs in one of twenty sets of seeds.

    Student's t, from the spread over seeds. nan for a single value, which has no spread.
    """
    if len(values) < 2:
        return math.nan, math.nan
    mean, error = float(values.mean(skipna=False)), float(values.std(ddof=1, skipna=False)) / math.sqrt(len(values))
    reach = float(stdtrit(len(values) - 1, level)) * error
    return mean - reach, mean + reach


@dataclass(frozen=True)
class Statement:
    """One testable part of a claim.

    Attributes:
        text: the statement in words, with its threshold.
        values: the measured quantity, by seed.
        margins: by how much the statement holds in each seed; negative where it does not.
        unit: how to write the quantity: "%" (of proportions), "x" (a ratio), "points" or "" (a plain number).
    """

    text: str
    values: pd.Series
    margins: pd.Series
    unit: str = "%"

    @property
    def outcome(self) -> str:
        """Whether it holds: decided by the one-sided 95% bounds of the mean margin over seeds.

        "holds" if the lower bound is above zero, "fails" if the upper one is below zero or the quantity is not
        available in a seed, as where a mask kept nothing, else "undecided"; "single run" for one seed.
        """
        if not np.isfinite(self.margins).all():
            return FAILS
        if len(self.margins) < 2:
            return SINGLE
        low, high = bounds(self.margins)
        return HOLDS if low > 0 else FAILS if high < 0 else UNDECIDED

    @property
    def holds(self) -> bool:
        return self.outcome == HOLDS

    @property
    def least(self) -> float:
        """The mean margin's lower bound, a single run's margin, or minus infinity if it is not available in a seed."""
        if not np.isfinite(self.margins).all():
            return -math.inf
        return bounds(self.margins)[0] if len(self.margins) > 1 else float(self.margins.iloc[0])

    @property
    def mark(self) -> str:
        """A sign for tables; in brackets for the sign of a single run's margin."""
        if self.outcome == SINGLE:
            return f"({MARKS[HOLDS if self.margins.iloc[0] > 0 else FAILS]})"
        return MARKS[self.outcome]

    @property
    def measured(self) -> str:
        """Mean and unbiased standard deviation over seeds."""
        return number(self.values, self.unit)

    @property
    def interval(self) -> str:
        """Mean with its bounds over seeds, e.g. ``74.7% (70.3 to 79.1)``; one run has none."""
        low, high = bounds(self.values)
        if math.isnan(low):
            return self.measured
        factor, digits, suffix = UNITS[self.unit]
        rounded = (round(factor * value, digits) + 0.0 for value in (self.values.mean(), low, high))  # 0.0, never -0.0
        mean, *ends = (f"{value:.{digits}f}" for value in rounded)
        return f"{mean}{suffix} ({ends[0]} to {ends[1]})"

    def to_dict(self) -> dict[str, object]:
        """Write the statement for programs; missing numbers are null. ``interval`` is of the mean value."""
        low, high = bounds(self.values)
        mean = float(self.values.mean(skipna=False))
        clean = [None if math.isnan(value) else round(value, 6) for value in (mean, low, high)]
        return {
            "statement": self.text,
            "mean": clean[0],
            "interval": clean[1:] if len(self.values) > 1 else None,
            "unit": self.unit,
            "n": len(self.values),
            "outcome": self.outcome,
        }
