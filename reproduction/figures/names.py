"""Names of masks in figures, and the type of the results that figures are drawn from."""

from __future__ import annotations

import pandas as pd

from reproduction.runs.measures import PAIR_NAMES

MASKS = {
    "unmasked": "none",
    "full": "both",
    "add": "+",
    "mul": "×",
    "not add": "not +",
    "not mul": "not ×",
}
PAIR_MASKS = {
    "unmasked": "none",
    "full": "both",
    **PAIR_NAMES,
    **{f"not {pair}": f"not {name}" for pair, name in PAIR_NAMES.items()},
}

Results = dict[str, pd.DataFrame]  # network ("fnn", "lstm") -> table of measurements
