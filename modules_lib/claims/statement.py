"""One testable part of a claim."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from modules_lib.measures import number


@dataclass(frozen=True)
class Statement:
    """One testable part of a claim.

    Attributes:
        text: what is stated, with its threshold.
        values: the measured quantity, by seed.
        margins: by how much the statement holds in each seed; negative where it does not.
        unit: how to write the quantity: "%" (of proportions), "x" (a ratio) or "points".
    """

    text: str
    values: pd.Series
    margins: pd.Series
    unit: str = "%"

    @property
    def holds(self) -> bool:
        if not np.isfinite(self.margins).all():
            return False  # not available in a seed, as where a mask kept nothing
        deviation = self.margins.std(ddof=1) if len(self.margins) > 1 else 0.0
        return bool(self.margins.mean() - deviation > 0)

    @property
    def measured(self) -> str:
        """Mean and unbiased standard deviation over seeds."""
        return number(self.values, self.unit)
