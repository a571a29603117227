"""Is a mask's effect due to its weights, or would any as many do? Controls that the paper's experiments lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from modules_lib.analysis.chance import ChanceTest, effect_test, magnitude_masks, sharing_test
from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import OPERATIONS, Arithmetic
from modules_lib.datasets.images import CLASSES, Images, label_of
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.support.device import device
from modules_lib.training.progress import Rows
from reproduction.experiments.cifar import predictions

ALONE, WITHOUT, OTHER, SHARED, UNITS = "alone", "without", "other", "shared", "shared, units"
DRAWS = 199  # p is then never below 0.005, one-sided, or 0.01, two-sided


def of_operations(model: nn.Module, masks: Mapping[str, Masks], draws: int = DRAWS) -> Rows:
    """Compare accuracies under each operation's mask and without its weights, and sharing, with chance.

    Returns:
        rows of ``task``, ``what``, ``observed``; by chance ``chance`` (mean), ``low`` and ``high`` (of 95%); ``p``; and
        ``largest``, the same with as many of each layer's largest weights. ``what`` is "alone" (the task under its own
        mask), "without" (the task without the mask's weights), "other" (the other task without them), "shared", or
        "shared, units" (beside weights at random that keep the number of every unit).
    """
    tests = {task: Arithmetic.of(task, device=device()) for task in OPERATIONS}
    metrics = {
        task: lambda network, data=data: arithmetic.outcomes(network, data)["correct"] for task, data in tests.items()
    }
    rows: Rows = []
    for task, other in (("add", "mul"), ("mul", "add")):
        own, largest = masks[task], magnitude_masks(model, masks[task])
        looks = (
            (ALONE, own, largest, metrics[task], "greater"),
            (WITHOUT, ~own, ~largest, metrics[task], "less"),
            (OTHER, ~own, ~largest, metrics[other], "two-sided"),
        )
        for what, mask, big, metric, extreme in looks:
            test = effect_test(model, mask, metric, draws=draws, alternative=extreme)
            rows.append(_row(task, what, test) | {"largest": round(metric(subnetwork(model, big)), 5)})
        rows.append(_row(task, SHARED, sharing_test(own, masks[other])))
        rows.append(_row(task, UNITS, sharing_test(own, masks[other], keep="units")))
    return rows


def of_classes(
    model: nn.Module, masks: Mapping[str, Masks], removed: tuple[str, ...], images: Images, draws: int = DRAWS
) -> Rows:
    """Compare true-positive rates without a class's weights with those without as many random ones of the reference.

    Returns:
        rows as of :func:`of_operations`, with the class as ``task`` and "without" as ``what``.
    """
    rows: Rows = []
    for name in removed:
        reference, rest = masks["full"], masks["full"] & masks[name]
        metric = _true_positives(name, images)
        test = effect_test(model, rest, metric, draws=draws, within=reference, alternative="less")
        rows.append(_row(name, WITHOUT, test))
    return rows


def _true_positives(name: str, images: Images) -> Callable[[nn.Module], float]:
    label = label_of(name)
    own = images.without(*(other for other in range(len(CLASSES)) if other != label))
    return lambda network: float((predictions(network, own) == label).double().mean())


def _row(task: str, what: str, test: ChanceTest) -> dict[str, object]:
    low, high = test.interval()
    numbers = {"observed": test.observed, "chance": test.expected, "low": low, "high": high, "p": test.p}
    return {"task": task, "what": what, **{name: round(number, 5) for name, number in numbers.items()}}
