"""The claims of section 5 on class-exclusive weights (claims 10, 11 and 19), and claim 10 in other CNNs (28)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from modules_lib.datasets.images import CLASSES
from reproduction.claims.statement import Statement
from reproduction.experiments.cifar import NETWORKS
from reproduction.protocol.stage import stage_with
from reproduction.runs.measures import (
    between_references,
    confusions,
    goes_with,
    others_move,
    own_and_others,
    removed_classes,
    true_positive_drops,
)

FEW, FALL, EACH, HARDLY = 0.20, 0.20, 0.10, 0.02  # of weights; of true-positive rates
PAPERS = (0.4, 0.6)  # the fall that the paper reports
HALF = 0.5
KEEP = 0.10
PARTNERS = {"cat": "dog", "dog": "cat", "truck": "automobile", "automobile": "truck"}


def few_weights_many_errors(results: dict[str, pd.DataFrame], factor: float = 1.0) -> list[Statement]:
    """Test Figures 5, 16 and 18, at a multiple of the paper's beta."""
    few, falls, each, hardly = _few_and_fall(results["cifar10"], factor)
    own, _ = own_and_others(results["cifar10"], factor)  # [seeds, removed]
    low, high = PAPERS
    size = pd.Series(np.minimum(own - low, high - own).min(1), falls.margins.index)  # of the class that is farthest out
    text = f"the fall has the paper's size in every class, {low * 100:.0f} to {high * 100:.0f} points"
    return [few, falls, each, Statement(text, falls.values, size, "points"), hardly]


def other_networks_are_alike(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether Figures 5, 16 and 18 hold without dropout and in a ResNet, but for the size of the fall."""
    return [
        replace(statement, text=f"{name}: {statement.text}")
        for network, name in NETWORKS.items()
        if network != "table-1"
        for statement in _few_and_fall(results[f"cifar10-{network}"])
    ]


def _few_and_fall(frame: pd.DataFrame, factor: float = 1.0) -> list[Statement]:
    """Weights that go with a class are few, its rate falls, on average and in every class, and others' hardly do."""
    stages = [stage_with(name, factor) for name in removed_classes(frame, factor)]
    removed = goes_with(frame, stages, stage_with("full", factor))
    own, _ = own_and_others(frame, factor)  # [seeds, removed]
    fall, least = (pd.Series(rates, removed.index) for rates in (own.mean(1), own.min(1)))
    beyond_noise = others_move(frame, factor) - between_references(frame, factor)
    return [
        Statement(f"weights of the reference that go with a class: at most {FEW:.0%}", removed, FEW - removed),
        Statement(
            f"its true-positive rate falls by at least {FALL * 100:.0f} points, mean over classes",
            fall,
            fall - FALL,
            "points",
        ),
        Statement(f"and by at least {EACH * 100:.0f} points in every class", least, least - EACH, "points"),
        Statement(
            f"the other classes' rates change, on average, by at most {HARDLY * 100:.0f} points more than between two "
            "masks of all classes",
            beyond_noise,
            HARDLY - beyond_noise,
            "points",
        ),
    ]


def classes_are_taken_for_alike(results: dict[str, pd.DataFrame], factor: float = 1.0) -> list[Statement]:
    """Test Figures 17 and 18, as far as they are about classes that were left out."""
    frame = results["cifar10"]
    whole = confusions(frame, stage_with("full", factor))  # [seeds, class, taken for]
    seeds = sorted(frame["seed"].unique())
    statements = []
    for removed in removed_classes(frame, factor):
        i = CLASSES.index(removed)
        change = (confusions(frame, stage_with(removed, factor)) - whole)[:, i]  # [seeds, taken for]
        if removed == "airplane":
            alike = change[:, [CLASSES.index("bird"), CLASSES.index("ship")]].sum(1)
            lost = pd.Series(-change[:, i], seeds)
            part = alike / lost.where(lost > 0)  # not available where none is lost
            text = f"of the airplanes lost, at least {HALF:.0%} are taken for birds or ships (by chance 2 of 9)"
            statements.append(Statement(text, part, part - HALF))
        if removed in PARTNERS:
            partner = CLASSES.index(PARTNERS[removed])
            rest = np.delete(change, [i, partner], axis=1).max(1)
            more = pd.Series(change[:, partner] - rest, seeds)
            text = f"without {removed}, its images go to {PARTNERS[removed]} more than to any other, difference above 0"
            statements.append(Statement(text, more, more, "points"))
    kept = np.abs(np.diagonal(whole - confusions(frame, "unmasked"), axis1=1, axis2=2)).max(1)
    largest = pd.Series(kept, seeds)
    text = f"under the reference mask no class's true-positive rate changes by more than {KEEP * 100:.0f} points"
    return [*statements, Statement(text, largest, KEEP - largest, "points")]


def without_one_the_other_is_better(results: dict[str, pd.DataFrame], factor: float = 1.0) -> list[Statement]:
    """Test appendix G on cats and dogs, as far as these were left out."""
    frame = results["cifar10"]
    seeds = sorted(frame["seed"].unique())
    drops = true_positive_drops(frame, factor)  # [seeds, removed, class]
    statements = []
    for i, removed in enumerate(removed_classes(frame, factor)):
        if removed in ("cat", "dog"):
            gain = pd.Series(-drops[:, i, CLASSES.index(PARTNERS[removed])], seeds)
            text = f"without {removed}, the true-positive rate of {PARTNERS[removed]} rises, change above 0"
            statements.append(Statement(text, gain, gain, "points"))
    return statements
