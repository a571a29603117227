"""The claims of section 4 on systematic generalisation (claims 8 and 9), and ours on a transformer (28 to 30)."""

from __future__ import annotations

import pandas as pd

from modules_lib.datasets.scan import token_name
from reproduction.claims.statement import Statement
from reproduction.experiments.transformer.on_scan import HARDER, alone
from reproduction.runs.measures import SPLIT_NAMES, outcome, removed_for_token

MUCH, LITTLE = 0.20, 0.10  # of exact matches, lost
MOST = 0.5
JUMP = "I_JUMP"
LSTM, TRANSFORMER = "scan", "scan-transformer"


def some_splits_lose_much(results: dict[str, pd.DataFrame], network: str = LSTM) -> list[Statement]:
    """Test Figure 4a: a split's mask against the full-task mask, on the split's own test set."""
    statements = []
    for name, much in {"length": True, "add-jump": True, "add-turn-left": False, "simple": False}.items():
        lost = outcome(results[network], "full", name) - outcome(results[network], name, name)
        said = f"more than {MUCH * 100:.0f} points" if much else f"at most {LITTLE * 100:.0f} points"
        text = f"the mask of the {SPLIT_NAMES[name]} split loses {said} on its test set against the full-task mask"
        statements.append(Statement(text, lost, lost - MUCH if much else LITTLE - lost, "points"))
    return statements


def jump_loses_its_output_weights(results: dict[str, pd.DataFrame], network: str = LSTM) -> list[Statement]:
    """Test Figure 4b: of the output weights that some split needs, those that the add-jump mask removes."""
    removed = removed_for_token(results[network], "add-jump")  # seeds x tokens
    others = removed.drop(columns=JUMP).max(axis=1, skipna=False)
    more, name = removed[JUMP] - others, token_name(JUMP)
    return [
        Statement(f"of {name}'s output weights, more than {MOST:.0%} are removed", removed[JUMP], removed[JUMP] - MOST),
        Statement(f"{name} loses a larger part than any other token, difference above 0", more, more, "points"),
    ]


def splits_of_a_transformer_lose_much(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test on the transformer's results what :func:`some_splits_lose_much` tests on the LSTM's."""
    return some_splits_lose_much(results, TRANSFORMER)


def jump_loses_a_transformers_output_weights(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test on the transformer's results what :func:`jump_loses_its_output_weights` tests on the LSTM's."""
    return jump_loses_its_output_weights(results, TRANSFORMER)


def masks_know_more_than_their_split(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether a split's mask answers more of its test set than a network that was trained on the split alone."""
    statements = []
    for name in HARDER:
        more = outcome(results[TRANSFORMER], name, name) - outcome(results[TRANSFORMER], alone(name), name)
        text = (
            f"{SPLIT_NAMES[name]}: the mask answers more than a network trained on the split alone, difference above 0"
        )
        statements.append(Statement(text, more, more, "points"))
    return statements
