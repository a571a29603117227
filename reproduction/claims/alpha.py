"""The claims of section 2 and its figures on when a mask can be believed (claims 12, 13, 14, 16 and 20)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.protocol.stage import SAMPLED, stage_at
from reproduction.runs.measures import (
    DOUBLE,
    NETWORKS,
    PAIR_NAMES,
    SPLIT_NAMES,
    TASKS,
    by_layer,
    certain,
    factors,
    outcome,
    sharing_by_capacity,
    task_accuracy,
)

COSTS, STEADY = 0.05, 0.15  # the accuracy that a full-task mask may cost; the change that sharing may show
SAFE = 0.02  # of accuracy, by which sampled and thresholded masks may differ
NEAR = 3.2  # a factor of beta
LEARNED = {  # experiment -> its name in figures, and the tasks that its full-task mask is tested on
    **{f"addmul-{network}": (f"+/×, {name}", TASKS) for network, name in NETWORKS.items()},
    **{f"double-{network}": (f"+/+, {name}", PAIR_NAMES) for network, name in DOUBLE.items()},
    "scan": ("SCAN", SPLIT_NAMES),
    "cifar10": ("CIFAR-10", {"images": "held-out images"}),
}


def probabilities_are_at_the_ends(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figure 6, in the four experiments that it shows, on masks of the full task."""
    statements = []
    for experiment in ("addmul-fnn", "addmul-lstm", "double-fnn", "double-lstm"):
        ends = certain(results[experiment], "full")
        name = LEARNED[experiment][0]
        text = f"{name}: probabilities below 0.1 or above 0.9, at least 90% of all"
        statements.append(Statement(text, ends, ends - 0.9))
    return statements


def thresholding_is_safe(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test section 2 on masks of the full task, in experiments whose runs measured sampled masks."""
    statements = []
    for experiment in ("addmul-fnn", "addmul-lstm", "double-fnn", "double-lstm"):
        frame = results[experiment]
        name, tasks = LEARNED[experiment]
        for task, called in tasks.items() if SAMPLED in set(frame["stage"]) else ():
            apart = outcome(frame, "full", task) - outcome(frame, SAMPLED, task)
            text = f"{name}, {called}: thresholded minus sampled full-task masks, within {SAFE * 100:.0f} points"
            statements.append(Statement(text, apart, SAFE - apart.abs(), "points"))
    return statements


def beta_is_not_critical(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements, largest = [], {}
    for size in ("small", "large"):
        frame = results[f"sweep-{size}"]
        whole = task_accuracy(frame, "unmasked")
        lost = pd.DataFrame({f: whole - task_accuracy(frame, stage_at("full", f)) for f in factors(frame)})
        shares = pd.DataFrame({f: by_layer(frame, stage_at("add", f), "sharing")["total"] for f in factors(frame)})
        near = [factor for factor in lost if 1 / NEAR <= factor <= NEAR]
        known = 1.0 if near[0] < 1 < near[-1] else np.nan  # a sweep of few betas may have none on either side
        worst = known * lost[near].max(axis=1, skipna=False)
        change = known * (shares[near].max(axis=1, skipna=False) - shares[near].min(axis=1, skipna=False))
        around = f"from beta / {NEAR:g} to beta * {NEAR:g}"
        text = f"{size} network: {around}, the full-task mask loses at most {COSTS * 100:.0f} points"
        statements.append(Statement(text, worst, COSTS - worst, "points"))
        text = f"{size} network: over these betas the sharing of addition changes by at most {STEADY * 100:.0f} points"
        statements.append(Statement(text, change, STEADY - change, "points"))
        holds = (lost <= COSTS).cummin(axis=1)  # up to the first beta that fails
        largest[size] = pd.Series({seed: max(row.index[row], default=np.nan) for seed, row in holds.iterrows()})
    ratio = largest["large"] / largest["small"]
    text = f"the largest beta tried up to which the full-task mask holds, large to small: within a factor of {NEAR:g}"
    statements.append(Statement(text, ratio, np.log(NEAR) - np.log(ratio).abs(), "x"))
    return statements


def sharing_falls_with_capacity(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figure 9 on networks that learn the task; one that cannot is not among the paper's sizes."""
    shares = sharing_by_capacity(results)
    statements = []
    for smaller, larger in zip(list(shares)[:-1], list(shares)[1:], strict=True):
        less = shares[smaller] - shares[larger]
        text = f"the {larger} network shares less than the {smaller} one, difference above 0"
        statements.append(Statement(text, less, less, "points"))
    return statements


def full_mask_keeps_accuracy(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Compare accuracy with and without the full-task mask in the experiments that have results."""
    statements = []
    for experiment, (name, tasks) in LEARNED.items():
        frame = results.get(experiment, pd.DataFrame())
        for task, called in tasks.items() if len(frame) else ():
            lost = outcome(frame, "unmasked", task) - outcome(frame, "full", task)
            text = f"{name}, {called}: accuracy lost under the full-task mask, at most {COSTS * 100:.0f} points"
            statements.append(Statement(text, lost, COSTS - lost, "points"))
    return statements
