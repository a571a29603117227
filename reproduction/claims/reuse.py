"""Our own claims beside P2: would the masks see a function that is used twice (claims 22 to 24)?"""

from __future__ import annotations

import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.experiments.reuse import AGAIN, PULLS, stage_of
from reproduction.runs.measures import PAIR_NAMES, by_layer, outcome

MORE, NEARLY, SAME, LOST = 0.25, 0.9, 0.1, 0.5
OUTER = ["input", "output", "total"]
MADE = {"copied": "outer weights copied", "built-in": "one code for both pairs"}


def inner_sharing(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average a variant's sharing of both pairs over the layers between the first and the last, by seed."""
    return sum(_inner(results, stage_of(pair, variant)) for pair in PAIR_NAMES) / len(PAIR_NAMES)


def sharing_with_itself(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average the sharing of two masks of pair 1 over the same layers: reuse of everything would give as much."""
    return _inner(results, stage_of(AGAIN, variant))


def _inner(results: pd.DataFrame, stage: str) -> pd.Series:
    return by_layer(results, stage, "sharing").drop(columns=OUTER).mean(axis=1)


def lost_by_exchange(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average the accuracy that the pairs lose with the inner weights of the other's mask instead of their own."""
    first, second = PAIR_NAMES
    lost = [
        outcome(results, stage_of(pair, variant), pair) - outcome(results, stage_of(f"inner of {other}", variant), pair)
        for pair, other in ((first, second), (second, first))
    ]
    return sum(lost) / len(lost)


def reuse_is_seen(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether sharing rises where inner weights can or must serve both pairs."""
    frame, statements = results["reuse"], []
    for variant, name in MADE.items():
        more = inner_sharing(frame, variant) - inner_sharing(frame, "none")
        text = f"{name}: between the outer layers, sharing rises by at least {MORE * 100:.0f} points"
        statements.append(Statement(text, more, more - MORE, "points"))
        part = inner_sharing(frame, variant) / sharing_with_itself(frame, variant)
        text = f"{name}: it reaches at least {NEARLY:.0%} of the sharing of two masks of one pair"
        statements.append(Statement(text, part, part - NEARLY))
    return statements


def modules_carry_over(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether a pair works with the inner weights of the other's mask, where there is reuse and where not."""
    frame, statements = results["reuse"], []
    for variant, name in MADE.items():
        lost = lost_by_exchange(frame, variant)
        text = f"{name}: with the other pair's inner weights, a pair loses at most {SAME * 100:.0f} points"
        statements.append(Statement(text, lost, SAME - lost, "points"))
    lost = lost_by_exchange(frame, "none")
    text = f"trained as in the paper: it loses at least {LOST * 100:.0f} points"
    return [*statements, Statement(text, lost, lost - LOST, "points")]


def sharing_follows_the_dose(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether sharing rises with the strength of the pull on the two computations, by rank over six networks."""
    frame = results["reuse"]
    shares = pd.DataFrame({variant: inner_sharing(frame, variant) for variant in PULLS})
    order = pd.Series(range(len(PULLS)), index=shares.columns)
    correlation = shares.rank(axis=1).apply(lambda row: row.corr(order), axis=1)
    rise = shares[list(PULLS)[-1]] - shares["none"]
    return [
        Statement("the rank correlation of strength and sharing is above 0.5", correlation, correlation - 0.5, ""),
        Statement("the strongest pull shares more than none, difference above 0", rise, rise, "points"),
    ]
