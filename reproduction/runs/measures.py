"""Reading tables of measurements (:func:`reproduction.runs.published.table`), for claims and figures alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from modules_lib.datasets.images import CLASSES
from reproduction.experiments.reuse import AGAIN, VARIANTS, stage_of
from reproduction.protocol.stage import BINS, Stage, stage_at, stage_with

NETWORKS = {"fnn": "FNN", "lstm": "LSTM"}
TASKS = {"add": "addition", "mul": "multiplication"}
DOUBLE = {"fnn": "FNN", "lstm": "LSTM, together", "lstm-apart": "LSTM, one at a time"}
PAIR_NAMES = {"pair-1": "pair 1", "pair-2": "pair 2"}
SPLIT_NAMES = {"simple": "simple", "add-jump": "add jump", "length": "length", "add-turn-left": "add turn left"}


def outcome(results: pd.DataFrame, stage: str, task: str, metric: str = "correct") -> pd.Series:
    """Select a proportion by seed: with the stage's mask, asked for the task, how often the outcome is the metric's."""
    chosen = results[(results["stage"] == stage) & (results["task"] == task) & (results["metric"] == metric)]
    return chosen.set_index("seed")["value"]


def by_layer(results: pd.DataFrame, stage: str, metric: str) -> pd.DataFrame:
    """Select a metric, as "kept" or "sharing": seeds in rows, layers from input to output, then "total", in columns."""
    chosen = results[(results["stage"] == stage) & (results["metric"] == metric)]
    layers = list(dict.fromkeys(chosen["layer"]))
    return chosen.pivot(index="seed", columns="layer", values="value")[layers]


def chance(results: pd.DataFrame, other: str, whole: str = "unmasked") -> pd.DataFrame:
    """Compute the sharing to expect of a mask independent of the other task's: the proportion that the other keeps.

    Seeds in rows, layers in columns, as :func:`by_layer`. ``whole`` is the stage that keeps every weight.
    """
    return by_layer(results, other, "kept") / by_layer(results, whole, "kept")


def between(layers: pd.DataFrame) -> pd.DataFrame:
    """Select the layers between the first and the last of :func:`by_layer`: those that two pairs can share."""
    return layers.drop(columns=["input", "output", "total"])


def pairs_mean(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Average :func:`by_layer` over the two pairs of double addition."""
    first, second = (by_layer(results, pair, metric) for pair in PAIR_NAMES)
    return (first + second) / 2


def removed_for_token(results: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Compute, of the output weights of each token that any split needs, the proportion that a stage's mask removes.

    Seeds in rows, tokens of SCAN in columns.
    """
    chosen = results[results["metric"] == "needed"]
    tokens = list(dict.fromkeys(chosen["task"]))
    kept, needed = (
        chosen[chosen["stage"] == name].pivot(index="seed", columns="task", values="value")[tokens]
        for name in (stage, "any split")
    )
    return 1 - kept / needed


def variants_of(results: pd.DataFrame) -> list[str]:
    """List the networks of the experiment on reuse that results are of."""
    stages = set(results["stage"])
    return [variant for variant in VARIANTS if stage_of("pair-1", variant) in stages]


def inner_sharing(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average a variant's sharing of both pairs over the layers between the first and the last, by seed."""
    return sum(_inner(results, stage_of(pair, variant)) for pair in PAIR_NAMES) / len(PAIR_NAMES)


def sharing_with_itself(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average the sharing of two masks of pair 1 over the same layers: reuse of everything would give as much."""
    return _inner(results, stage_of(AGAIN, variant))


def _inner(results: pd.DataFrame, stage: str) -> pd.Series:
    return between(by_layer(results, stage, "sharing")).mean(axis=1)


def least_reuse_seen(results: pd.DataFrame, level: float = 0.95) -> tuple[float, float, float]:
    """Estimate the smallest part of a reused adder that as many runs would tell from none, and its interval.

    Sharing is taken to rise in proportion to the part, from networks without reuse to those with copied outer weights.
    The part is told from none in a proportion ``level`` of cases by a one-sided test at 1 - ``level``. The interval is
    that of the rise of sharing; the errors are taken as found. nan for one run.
    """
    none, all_ = inner_sharing(results, "none"), inner_sharing(results, "copied")
    n = len(none)
    if n < 2:
        return (float("nan"),) * 3
    error = float(np.sqrt((none.var(ddof=1) + all_.var(ddof=1)) / n))
    reach = 2 * stdtrit(2 * n - 2, level) * error
    difference = float(all_.mean() - none.mean())
    width = stdtrit(2 * n - 2, (1 + level) / 2) * error
    least, low, high = (min(1.0, reach / max(d, 1e-9)) for d in (difference, difference + width, difference - width))
    return least, low, high


def inner_chance(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average the sharing over the same layers that independent masks of the two pairs would have."""
    whole = stage_of("unmasked", variant)
    each = [between(chance(results, stage_of(pair, variant), whole)).mean(axis=1) for pair in PAIR_NAMES]
    return sum(each) / len(each)


def likeness(results: pd.DataFrame, variant: str) -> pd.Series:
    """Compute, as 1 less their distance, how alike a variant's hidden states are for one question at both pairs."""
    chosen = results[(results["stage"] == stage_of("unmasked", variant)) & (results["metric"] == "distance")]
    return 1 - chosen.set_index("seed")["value"]


def lost_by_exchange(results: pd.DataFrame, variant: str) -> pd.Series:
    """Average the accuracy that the pairs lose with the inner weights of the other's mask instead of their own."""
    first, second = PAIR_NAMES
    lost = [
        outcome(results, stage_of(pair, variant), pair) - outcome(results, stage_of(f"inner of {other}", variant), pair)
        for pair, other in ((first, second), (second, first))
    ]
    return sum(lost) / len(lost)


def agreement(results: pd.DataFrame, first: str, second: str, metric: str = "iou") -> pd.DataFrame:
    """Select the intersection over union of two stages' masks, or that "iou by chance": as :func:`by_layer`."""
    return by_layer(results[results["task"] == second], first, metric)


def part_within(results: pd.DataFrame, inner: str, outer: str) -> pd.Series:
    """Compute the proportion of a stage's kept weights that the stage before it, ``outer``, keeps, too, by seed."""
    union = agreement(results, outer, inner)["total"]
    kept = {stage: by_layer(results, stage, "kept")["total"] for stage in (inner, outer)}
    return union * (kept[inner] + kept[outer]) / (1 + union) / kept[inner]


def confusions(results: pd.DataFrame, stage: str) -> np.ndarray:
    """Read the confusion matrices of CIFAR-10, normalised per true class: [seeds, true class, taken for]."""
    chosen = results[(results["stage"] == stage) & (results["metric"] == "confusion")]
    seeds = sorted(chosen["seed"].unique())
    parts = np.zeros((len(seeds), len(CLASSES), len(CLASSES)))
    places = [
        [values.index(value) for value in column]
        for values, column in (
            (seeds, chosen["seed"]),
            (list(CLASSES), chosen["task"]),
            (list(CLASSES), chosen["predicted"]),
        )
    ]
    parts[tuple(places)] = chosen["value"]
    return parts


def removed_classes(results: pd.DataFrame, factor: float = 1.0) -> list[str]:
    """List the classes that results have a stage without, at a multiple of beta."""
    stages = set(results["stage"])
    return [name for name in CLASSES if stage_with(name, factor) in stages]


def goes_with(results: pd.DataFrame, stages: list[str], reference: str = "full") -> pd.Series:
    """Measure the part of the reference's weights that stages lack: mean over stages, by seed."""
    parts = [by_layer(results, stage, "removed")["total"] for stage in stages]
    return pd.concat(parts, axis=1).mean(axis=1) / by_layer(results, reference, "kept")["total"]


def true_positive_drops(results: pd.DataFrame, factor: float = 1.0) -> np.ndarray:
    """Compute the fall of each class's true-positive rate below the reference's: [seeds, removed class, class]."""
    whole = np.diagonal(confusions(results, stage_with("full", factor)), axis1=1, axis2=2)
    stages = [stage_with(name, factor) for name in removed_classes(results, factor)]
    return np.stack([whole - np.diagonal(confusions(results, stage), axis1=1, axis2=2) for stage in stages], 1)


def own_and_others(results: pd.DataFrame, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Compute a class's own drop and the others' mean absolute change of rates: [seeds, removed class] each."""
    drops = true_positive_drops(results, factor)
    own = np.stack([drops[:, i, CLASSES.index(c)] for i, c in enumerate(removed_classes(results, factor))], 1)
    return own, (np.abs(drops).sum(2) - np.abs(own)) / (len(CLASSES) - 1)


def others_move(results: pd.DataFrame, factor: float = 1.0) -> pd.Series:
    """Measure how far true-positive rates of the classes that stay move, either way: mean over classes, by seed."""
    _, others = own_and_others(results, factor)
    return pd.Series(others.mean(1), sorted(results["seed"].unique()))


def between_references(results: pd.DataFrame, factor: float = 1.0) -> pd.Series:
    """Measure how far true-positive rates move from one reference mask to the next: mean over classes, by seed."""
    first, second = (confusions(results, stage_with(stage, factor)) for stage in ("full", "again"))
    moved = np.abs(np.diagonal(second - first, axis1=1, axis2=2)).mean(1)
    return pd.Series(moved, sorted(results["seed"].unique()))


def still_recognised(results: pd.DataFrame, factor: float = 1.0) -> pd.Series:
    """Measure the part of a class's images that is recognised without its weights: mean over classes, by seed."""
    names = {name: CLASSES.index(name) for name in removed_classes(results, factor)}
    return pd.DataFrame(
        {name: confusions(results, stage_with(name, factor))[:, i, i] for name, i in names.items()}
    ).mean(axis=1)


def task_number(task: str) -> int:
    """Read the number of a task: ``task-3`` -> 3."""
    return int(task.removeprefix("task-"))


def tasks_learned(results: pd.DataFrame) -> list[str]:
    """List the tasks of permuted MNIST, in the order of learning."""
    return sorted({stage for stage in results["stage"] if stage.startswith("task-")}, key=task_number)


def factors(results: pd.DataFrame) -> list[float]:
    """List the multiples of beta in a sweep's results, from the smallest on."""
    found = {Stage.read(stage).factor for stage in results["stage"].unique()}
    return sorted(factor for factor in found if factor is not None)


def task_accuracy(results: pd.DataFrame, stage: str) -> pd.Series:
    """Average how often addition and multiplication are right under a stage's mask, by seed."""
    return sum((outcome(results, stage, task) for task in TASKS), start=0.0) / len(TASKS)


def sharing_by_capacity(results: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """Collect the total sharing of addition by seed, from the smallest network to the largest (Figure 9).

    The large one is that of the sweep at its middle beta, else that of addition and multiplication.
    """
    stages = {"sweep-large": stage_at("add", 1.0)}
    return {
        size: by_layer(results[name], stages.get(name, "add"), "sharing")["total"]
        for size, name in networks_by_capacity(results).items()
    }


CAPACITIES = ("tiny", "small", "medium", "large", "huge")  # the sizes of Figure 9's networks


def networks_by_capacity(results: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Find which experiment has the network of a size: size -> its name, of those that have results."""
    there = [name for name, frame in results.items() if not frame.empty]
    large = next((name for name in ("sweep-large", "addmul-fnn") if name in there), "")
    names = {size: large if size == "large" else f"capacity-{size}" for size in CAPACITIES}
    return {size: name for size, name in names.items() if name in there}


def probabilities(results: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Count the weights of each mask probability: seeds in rows, BINS from 0 to 1 in columns."""
    chosen = results[(results["stage"] == stage) & (results["metric"] == "probability")]
    counts = chosen.pivot(index="seed", columns="bin", values="value")
    return counts.reindex(columns=range(BINS)).fillna(0)


def certain(results: pd.DataFrame, stage: str) -> pd.Series:
    """Compute the proportion of a stage's mask probabilities that are below 0.1 or above 0.9, by seed."""
    counts = probabilities(results, stage)
    ends = counts.iloc[:, : BINS // 10].sum(axis=1) + counts.iloc[:, -BINS // 10 :].sum(axis=1)
    return ends / counts.sum(axis=1)


def still_shrinking(results: pd.DataFrame, stage: str) -> pd.Series:
    """Compute the proportion of the kept weights that a stage's last quarter of training removed, by seed."""
    chosen = results[(results["stage"] == stage) & (results["metric"] == "curve kept")]
    curves = chosen.pivot(index="seed", columns="step", values="value")
    before = curves.loc[:, curves.columns <= 0.75 * curves.columns.max()].iloc[:, -1]
    return 1 - curves.iloc[:, -1] / before


def spread(values: pd.DataFrame) -> pd.DataFrame:
    """Compute each column's mean and unbiased standard deviation over seeds, in rows; nan for one seed."""
    return pd.DataFrame({"mean": values.mean(skipna=False), "deviation": values.std(ddof=1, skipna=False)})


def plus_minus(mean: float, deviation: float, digits: int = 1) -> str:
    """Write ``12.3 ± 0.4``, or the mean alone where there is no deviation."""
    if pd.isna(mean):
        return "not available"
    return f"{mean:,.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:,.{digits}f}")


# Unit -> the factor that a quantity is written with, its digits, and what stands behind it.
UNITS = {"%": (100, 1, "%"), "points": (100, 1, " points"), "x": (1, 2, "x"), "": (1, 2, "")}


def number(values: pd.Series, unit: str = "%") -> str:
    """Write mean and unbiased standard deviation over seeds, e.g. ``98.2 ± 0.3%``.

    Args:
        values: a measurement by seed.
        unit: "%" or "points" (of proportions), "x" (a ratio) or "" (a plain number).
    """
    factor, digits, suffix = UNITS[unit]
    values = factor * values
    text = plus_minus(values.mean(skipna=False), values.std(ddof=1), digits)
    return text if text == "not available" else text + suffix
