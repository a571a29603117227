"""The claims of section 3.2 on double addition (claims 6, 7 and 21)."""

from __future__ import annotations

import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.runs.measures import DOUBLE, PAIR_NAMES, between, by_layer, outcome, pairs_mean

OTHER = {"pair-1": "pair-2", "pair-2": "pair-1"}
LOW, SLIGHTLY, SAME = 0.25, 0.10, 0.10


def pairs_share_little(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figures 3 and 12, but for first and last layers, where pairs share nothing by construction.

    Only the LSTMs of both tasks have one beta, so only they are compared with addition and multiplication.
    """
    statements = []
    for network in ("fnn", "lstm"):
        frame, name = results[f"double-{network}"], DOUBLE[network]
        shares = pairs_mean(frame, "sharing")
        total = shares["total"]
        statements.append(Statement(f"{name}: sharing in total is low, below {LOW:.0%}", total, LOW - total))
        if network == "lstm":
            less = by_layer(results["addmul-lstm"], "add", "sharing")["total"] - total
            text = f"{name}: two additions share less than addition shares with multiplication, difference above 0"
            statements.append(Statement(text, less, less, "points"))
        for mask, pair in OTHER.items():
            lost = outcome(frame, "unmasked", pair) - outcome(frame, f"not {mask}", pair)
            most = f"at most {SLIGHTLY * 100:.0f} points"
            text = f"{name}: without the weights of {PAIR_NAMES[mask]}, {PAIR_NAMES[pair]} loses slightly, {most}"
            statements.append(Statement(text, lost, SLIGHTLY - lost, "points"))
    return statements


def functions_are_not_reused(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test section 3.2 as a whole: a function used twice would be shared in all layers but the outer ones."""
    statements = []
    for network, name in DOUBLE.items():
        frame = results[f"double-{network}"]
        inner = between(pairs_mean(frame, "sharing")).mean(axis=1, skipna=False)
        text = f"{name}: between the layers of inputs and outputs, less than {LOW:.0%} is shared"
        statements.append(Statement(text, inner, LOW - inner))
    return statements


def lstm_variants_agree(results: dict[str, pd.DataFrame]) -> list[Statement]:
    together, apart = results["double-lstm"], results["double-lstm-apart"]
    shared = pairs_mean(apart, "sharing")["total"] - pairs_mean(together, "sharing")["total"]
    near = f"one at a time minus together: within {SAME * 100:.0f} points"
    text = f"sharing in total, {near}"
    statements = [Statement(text, shared, SAME - shared.abs(), "points")]
    for mask, pair in OTHER.items():
        gap = outcome(apart, f"not {mask}", pair) - outcome(together, f"not {mask}", pair)
        text = f"accuracy on {PAIR_NAMES[pair]} without {PAIR_NAMES[mask]}, {near}"
        statements.append(Statement(text, gap, SAME - gap.abs(), "points"))
    return statements
