"""The claims of section 3.1 on addition and multiplication (claims 1 to 5)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.runs.measures import NETWORKS, TASKS, by_layer, outcome

OTHER = {"add": "mul", "mul": "add"}


def sharing_at_the_ends(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network, name in NETWORKS.items():
        for task, called in TASKS.items():
            shares = by_layer(results[f"addmul-{network}"], task, "sharing").drop(columns="total")
            inner = shares.drop(columns=["input", "output"]).mean(axis=1, skipna=False)
            gap = shares[["input", "output"]].min(axis=1, skipna=False) - inner
            text = f"{name}, {called}: the smaller of input and output sharing minus the hidden layers' mean, above 0"
            statements.append(Statement(text, gap, gap, "points"))
    return statements


def more_weights_for_multiplication(results: dict[str, pd.DataFrame]) -> list[Statement]:
    paper, factor = 3.8, 1.25
    statements = []
    for network, name in NETWORKS.items():
        kept = {task: by_layer(results[f"addmul-{network}"], task, "kept")["total"] for task in TASKS}
        ratio = kept["mul"] / kept["add"].where(kept["add"] > 0)
        statements.append(
            Statement(f"{name}, direction: multiplication keeps more weights, ratio above 1", ratio, ratio - 1, "x")
        )
        near = np.log(factor) - np.log((ratio / paper).where(ratio > 0)).abs()
        text = f"{name}, size: the ratio is within a factor of {factor} of {paper}"
        statements.append(Statement(text, ratio, near, "x"))
    return statements


IGNORES = 0.8  # of the cases, from which on the operation asked for counts as ignored


def fnn_performs_the_masks_operation(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for mask, asked in OTHER.items():
        done = outcome(results["addmul-fnn"], mask, asked, mask)
        text = f"{_test(mask, asked)}: the result is that of {TASKS[mask]} in at least {IGNORES:.0%}"
        statements.append(Statement(text, done, done - IGNORES))
    return statements


def lstm_is_mostly_invalid(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for mask, asked in OTHER.items():
        invalid = outcome(results["addmul-lstm"], mask, asked, "none")
        text = f"{_test(mask, asked)}, direction: valid for neither operation in most cases, above 50%"
        statements.append(Statement(text, invalid, invalid - 0.5))
        text = f"{_test(mask, asked)}, size: in about 70%, within 15 points"
        statements.append(Statement(text, invalid, 0.15 - (invalid - 0.7).abs()))
    return statements


def _test(mask: str, asked: str) -> str:
    return f"mask of {TASKS[mask]}, asked for {TASKS[asked]}"


def inverted_masks_fail(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network, name in NETWORKS.items():
        for mask, other in OTHER.items():
            accuracy = outcome(results[f"addmul-{network}"], f"not {mask}", other)
            text = f"{name}: accuracy on {TASKS[other]} without the weights of {TASKS[mask]}, below 50%"
            statements.append(Statement(text, accuracy, 0.5 - accuracy))
    return statements
