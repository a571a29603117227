"""Names of masks in figures, and the type of what figures are drawn from."""

from __future__ import annotations

import pandas as pd

from reproduction.runs.measures import PAIRS

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
    **PAIRS,
    **{f"not {pair}": f"not {name}" for pair, name in PAIRS.items()},
}

Results = dict[str, pd.DataFrame]  # network ("fnn", "lstm") -> table of measurements
