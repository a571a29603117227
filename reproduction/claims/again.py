"""Our own claims beside section 3: is a module one thing, and why do inverted masks fail (claims 25 to 27)?"""

from __future__ import annotations

import pandas as pd

from reproduction.claims.addmul import OTHER
from reproduction.claims.statement import Statement
from reproduction.experiments.again import again, dearer, with_ends
from reproduction.runs.measures import NETWORKS, PAIR_NAMES, TASKS, agreement, outcome, part_within

HALF, WITHIN, BETTER, WELL = 0.5, 0.8, 0.2, 0.5
# Experiment -> its name in statements, and its subtasks with theirs.
MASKED = {
    **{f"again-addmul-{network}": (name, TASKS) for network, name in NETWORKS.items()},
    "again-double-fnn": ("FNN", PAIR_NAMES),
}


def masks_found_twice_agree(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether masks of one subtask from other noise and batches are alike, by intersection over union."""
    statements = []
    for experiment, (name, tasks) in MASKED.items():
        frame = results[experiment]
        between = agreement(frame, *tasks)["total"]
        for task, called in tasks.items():
            found = agreement(frame, task, again(task))["total"]
            text = f"{name}, {called}: of the weights that either mask keeps, both keep at least {HALF:.0%}"
            statements.append(Statement(text, found, found - HALF))
            gap = found - between
            text = f"{name}, {called}: this is more than the masks of {' and '.join(tasks.values())} have, above 0"
            statements.append(Statement(text, gap, gap, "points"))
    return statements


def smaller_modules_lie_within(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether the masks at three times beta keep weights that are kept at beta."""
    statements = []
    for experiment, (name, tasks) in MASKED.items():
        for task, called in tasks.items():
            part = part_within(results[experiment], dearer(task), task)
            text = f"{name}, {called}: of the weights kept at three times beta, at least {WITHIN:.0%} are kept at beta"
            statements.append(Statement(text, part, part - WITHIN))
    return statements


def inverses_lack_their_ends(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test whether an inverted mask performs the other operation once it has the full task's first and last layer."""
    statements = []
    for network, name in NETWORKS.items():
        frame = results[f"again-addmul-{network}"]
        for mask, other in OTHER.items():
            right = outcome(frame, with_ends(mask), other)
            more = right - outcome(frame, f"not {mask}", other)
            who = f"{name}: {TASKS[other]} without the inner weights of {TASKS[mask]}"
            text = f"{who} is right at least {BETTER * 100:.0f} points more often than without all of them"
            statements.append(Statement(text, more, more - BETTER, "points"))
            statements.append(Statement(f"{who} is right in at least {WELL:.0%}", right, right - WELL))
    return statements
