"""Our own claims beside P2: would the masks see a function that is used twice (claims 22 to 24)?"""

from __future__ import annotations

import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.experiments.reuse import PULLS
from reproduction.runs.measures import inner_sharing, lost_by_exchange, sharing_with_itself, variants_of

MORE, NEARLY, SAME, LOST = 0.25, 0.9, 0.1, 0.5
CALLED = {"copied": "outer weights copied", "built-in": "one adder by construction"}


def reuse_is_seen(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether sharing rises where inner weights can or must serve both pairs."""
    frame, statements = results["reuse"], []
    for variant, name in _made(frame).items():
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
    for variant, name in _made(frame).items():
        lost = lost_by_exchange(frame, variant)
        text = f"{name}: with the other pair's inner weights, a pair loses at most {SAME * 100:.0f} points"
        statements.append(Statement(text, lost, SAME - lost, "points"))
    lost = lost_by_exchange(frame, "none")
    text = f"trained as in the paper: it loses at least {LOST * 100:.0f} points"
    return [*statements, Statement(text, lost, lost - LOST, "points")]


def sharing_follows_the_dose(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether sharing rises with the strength of the pull on the two computations, by rank over six networks."""
    frame = results["reuse"]
    shares = pd.DataFrame(
        {variant: inner_sharing(frame, variant) for variant in variants_of(frame) if variant in PULLS}
    )
    if shares.shape[1] < len(PULLS):  # a run of few networks, which has no dose to follow
        return []
    order = pd.Series(range(len(PULLS)), index=shares.columns)
    correlation = shares.rank(axis=1).apply(lambda row: row.corr(order), axis=1)
    rise = shares[list(PULLS)[-1]] - shares["none"]
    return [
        Statement("the rank correlation of strength and sharing is above 0.5", correlation, correlation - 0.5, ""),
        Statement("the strongest pull shares more than none, difference above 0", rise, rise, "points"),
    ]


def _made(results: pd.DataFrame) -> dict[str, str]:
    """The networks that reuse by construction, with their names, as far as there are results of them."""
    return {variant: name for variant, name in CALLED.items() if variant in variants_of(results)}
