"""The claims of section 3.2 on double addition (claims 6 and 7)."""

from __future__ import annotations

import pandas as pd

from modules_lib.claims.statement import Statement
from modules_lib.measures import DOUBLE, PAIRS, by_layer, outcome, pairs_mean

OTHER = {"pair-1": "pair-2", "pair-2": "pair-1"}
LOW, NONE, SLIGHTLY, SAME = 0.25, 0.01, 0.10, 0.10


def pairs_share_little(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network in ("fnn", "lstm"):
        frame, name = results[f"double-{network}"], DOUBLE[network]
        shares = pairs_mean(frame, "sharing")
        total, ends = shares["total"], shares[["input", "output"]].max(axis=1, skipna=False)
        statements += [
            Statement(f"{name}: sharing in total is low, below {LOW:.0%}", total, LOW - total),
            Statement(
                f"{name}: none in the first and last layers, at most {NONE:.0%} in the larger", ends, NONE - ends
            ),
        ]
        addition = by_layer(results[f"addmul-{network}"], "add", "sharing")["total"]
        less = addition - total
        text = f"{name}: one function in two places shares less than addition with multiplication, difference above 0"
        statements.append(Statement(text, less, less, "points"))
        for mask, pair in OTHER.items():
            lost = outcome(frame, "unmasked", pair) - outcome(frame, f"not {mask}", pair)
            most = f"at most {SLIGHTLY * 100:.0f} points"
            text = f"{name}: without the weights of {PAIRS[mask]}, {PAIRS[pair]} loses slightly, {most}"
            statements.append(Statement(text, lost, SLIGHTLY - lost, "points"))
    return statements


def lstm_variants_agree(results: dict[str, pd.DataFrame]) -> list[Statement]:
    together, apart = results["double-lstm"], results["double-lstm-apart"]
    shared = pairs_mean(apart, "sharing")["total"] - pairs_mean(together, "sharing")["total"]
    near = f"one at a time minus together: within {SAME * 100:.0f} points"
    text = f"sharing in total, {near}"
    statements = [Statement(text, shared, SAME - shared.abs(), "points")]
    for mask, pair in OTHER.items():
        gap = outcome(apart, f"not {mask}", pair) - outcome(together, f"not {mask}", pair)
        text = f"accuracy on {PAIRS[pair]} without {PAIRS[mask]}, {near}"
        statements.append(Statement(text, gap, SAME - gap.abs(), "points"))
    return statements
