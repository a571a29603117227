"""The claims of appendix E on transfer between permutations of MNIST (claims 15, 17 and 18)."""

from __future__ import annotations

import pandas as pd

from reproduction.claims.statement import Statement
from reproduction.runs.measures import by_layer, tasks_learned

HARDLY, FAR = 0.20, 0.80  # of a task's weights that were in use before
EARLY = 3  # tasks after the first, while there is room
HIDDEN = ("hidden 1", "hidden 2")


def what_is_there_is_hardly_used_again(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figure 14: all layers but the first, which undoes the permutation, could be shared without loss."""
    equal = results["permuted-equal"]
    early = early_sharing(equal)
    last = min(EARLY + 1, len(tasks_learned(equal)))  # the chapter's own run learns fewer
    full = mean_over_tasks(equal, "full", tasks_learned(equal)).drop(columns="total")
    fullest = full["output"] - full.drop(columns="output").max(axis=1)
    return [
        Statement(
            f"{'task 2' if last == 2 else f'tasks 2 to {last}'}: of a task's weights in hidden layers, "
            f"at most {HARDLY:.0%} were in use",
            early,
            HARDLY - early,
        ),
        Statement(
            "the last layer fills first: over all tasks fuller than any other, difference above 0",
            fullest,
            fullest,
            "points",
        ),
    ]


def sharing_begins_when_capacity_is_full(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figure 14 on as many late tasks as early ones; a run too short for both says nothing."""
    equal = results["permuted-equal"]
    tasks = tasks_learned(equal)[1:]
    if len(tasks) < 2 * EARLY:
        return []
    early, late = (mean_over_tasks(equal, "sharing", part) for part in (tasks[:EARLY], tasks[-EARLY:]))
    later = late[[*HIDDEN, "output"]].mean(axis=1) - early[[*HIDDEN, "output"]].mean(axis=1)
    last = late["output"] - late[list(HIDDEN)].max(axis=1)
    texts = (
        f"after the first layer, the last {EARLY} tasks share more than tasks 2 to {EARLY + 1}, difference above 0",
        f"in the last {EARLY} tasks the last layer shares more than either hidden layer, difference above 0",
    )
    return [Statement(text, value, value, "points") for text, value in zip(texts, (later, last), strict=True)]


def favouring_raises_sharing(results: dict[str, pd.DataFrame]) -> list[Statement]:
    """Test Figure 15, on new weights that start less likely than old ones."""
    equal, half, quarter = (results[f"permuted-{name}"] for name in ("equal", "half", "quarter"))
    total = {name: mean_sharing(frame)["total"] for name, frame in (("2", equal), ("0", half), ("-1", quarter))}
    rest = mean_sharing(quarter)[[*HIDDEN, "output"]].mean(axis=1)
    first = mean_sharing(quarter)["input"] - mean_sharing(equal)["input"]
    return [
        *(
            Statement(
                f"new weights that start at {low} share more than at {high}, difference above 0",
                total[low] - total[high],
                total[low] - total[high],
                "points",
            )
            for low, high in (("0", "2"), ("-1", "0"))
        ),
        Statement(f"even then, far from 100% is shared after the first layer: at most {FAR:.0%}", rest, FAR - rest),
        Statement(
            "and the first layer shares more, too, where it should not, difference above 0", first, first, "points"
        ),
    ]


def mean_sharing(results: pd.DataFrame, first: int | None = None) -> pd.DataFrame:
    """Average sharing over all tasks after the first, or over the first so many of these: [seeds, layers]."""
    return mean_over_tasks(results, "sharing", tasks_learned(results)[1:][:first])


def early_sharing(results: pd.DataFrame) -> pd.Series:
    """Average the sharing of hidden layers over the first EARLY tasks after the first, by seed."""
    return mean_sharing(results, EARLY)[list(HIDDEN)].mean(axis=1)


def mean_over_tasks(results: pd.DataFrame, metric: str, tasks: list[str]) -> pd.DataFrame:
    """Average a metric over tasks, [seeds, layers]; nan where it is nan for one of them."""
    first, *rest = (by_layer(results, task, metric) for task in tasks)
    return sum(rest, first) / len(tasks)
