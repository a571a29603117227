"""Could it be chance? Comparisons to make before a conclusion is drawn from masks.

A mask that is learned on a task is set against random masks with as many weights in each layer (are these weights
special?), against the largest weights (would pruning by size have found them?), against masks of the same task from
other noise (is there one module to be found?), and an overlap against that of masks placed at random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from operator import or_

import numpy as np
import pandas as pd
import torch
from torch import nn

from modules_lib.analysis.compare import iou, measured, sharing
from modules_lib.analysis.unit_null import overlaps as overlaps_by_units
from modules_lib.masking.groups import Unit, expanded, groups_of, unit_of
from modules_lib.masking.masks import Masks
from modules_lib.masking.sample_weights import flatten, unflatten
from modules_lib.masking.selection import effective
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.support.checks import check_choice, check_count

ALTERNATIVES = ("two-sided", "less", "greater")


def random_masks(
    masks: Masks, seed: int = 0, within: Masks | None = None, unit: str | Unit = "weight", heads: int | None = None
) -> Masks:
    """Draw masks that keep as many weights in each tensor as these, at random; another seed gives other masks.

    Args:
        within: draw them among the weights that these masks keep; by default among all.
        unit, heads: of masks over groups (:mod:`modules_lib.masking.groups`): as many groups of each layer are drawn.

    Raises:
        ValueError: ``within`` keeps too few weights of a tensor or comes with groups, or a group is kept in part.
    """
    if grouped := unit_of(unit, heads):
        if within is not None:
            raise ValueError("Groups cannot be drawn within other masks; leave `within` out, or draw single weights.")
        return _random_groups(masks, grouped, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed)
    drawn = {}
    for name, mask in masks.items():
        count, room = masks.count(name), mask.numel() if within is None else within.count(name)
        if room < count:
            raise ValueError(f"{count} weights of {name} cannot be drawn among {room}; widen `within`.")
        # Half the bytes of the default type: most of the time of a test against chance goes here.
        places = torch.randperm(room, generator=generator, dtype=torch.int32)[:count]
        if within is not None:
            places = within[name].flatten().nonzero().flatten()[places]
        flat = torch.zeros(mask.numel(), dtype=torch.bool)
        flat[places] = True
        drawn[name] = flat.reshape(mask.shape)
    return Masks(drawn)


def _random_groups(masks: Masks, unit: Unit, generator: torch.Generator) -> Masks:
    groups = groups_of(unit, {name: mask.shape for name, mask in masks.items()})
    flat = torch.cat([flatten(mask) for mask in masks.values()])
    kept = torch.bincount(groups.of, weights=flat.double(), minlength=groups.count)
    whole = kept == groups.sizes
    if not bool((whole | (kept == 0)).all()):
        raise ValueError("These masks keep groups in part; name the unit that they were trained with.")
    for layer in groups.layers.unique():
        own = (groups.layers == layer).nonzero().flatten()
        whole[own] = whole[own[torch.randperm(len(own), generator=generator)]]
    pieces = expanded(groups, whole).split([mask.numel() for mask in masks.values()])
    return Masks({name: unflatten(piece, masks[name].shape) for name, piece in zip(masks, pieces, strict=True)})


def magnitude_masks(model: nn.Module, masks: Masks) -> Masks:
    """Make masks that keep as many weights in each tensor as these: the model's largest, whatever their sign.

    Raises:
        ValueError: the masks belong to another model.
    """
    parameters = {name: p.detach().abs().flatten() for name, p in effective(model).named_parameters()}
    kept = {}
    for name, mask in masks.items():
        if name not in parameters or parameters[name].numel() != mask.numel():
            raise ValueError(f"The masks belong to another model: this one has no {name} of shape {tuple(mask.shape)}.")
        flat = torch.zeros(mask.numel(), dtype=torch.bool)
        flat[parameters[name].topk(masks.count(name)).indices.cpu()] = True
        kept[name] = flat.reshape(mask.shape)
    return Masks(kept)


@dataclass(frozen=True)
class ChanceTest:
    """A measured number beside what chance gives.

    Attributes:
        observed: the number.
        chance: the same number from each random draw.
        p: how probable a number at least as extreme is by chance, counting the observed one as a draw: with M draws it
            is never below 1 / (M + 1). nan where the number or a draw is nan, as is the sharing of an empty mask.
    """

    observed: float
    chance: np.ndarray
    p: float

    @property
    def expected(self) -> float:
        """The mean by chance."""
        return float(self.chance.mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Bound the middle of the numbers by chance, by default 95% of them."""
        low, high = np.quantile(self.chance, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.observed:.3g} (by chance {low:.3g} to {high:.3g}, p = {self.p:.2g})"


def compare_with_chance(
    observed: float, chance: Sequence[float] | np.ndarray, alternative: str = "two-sided"
) -> ChanceTest:
    """Find the p value of a number among those by chance.

    Args:
        alternative: the extreme side: "less", "greater", or "two-sided", twice the smaller p of both sides.

    Raises:
        ValueError: there is no number by chance, or no such alternative.
    """
    check_choice("alternative", alternative, ALTERNATIVES)
    numbers = np.asarray(chance, dtype=float)
    check_count("the number of draws", len(numbers))
    less = (1 + int((numbers <= observed).sum())) / (len(numbers) + 1)
    greater = (1 + int((numbers >= observed).sum())) / (len(numbers) + 1)
    p = {"less": less, "greater": greater, "two-sided": min(1.0, 2 * min(less, greater))}[alternative]
    if not (math.isfinite(observed) and np.isfinite(numbers).all()):
        p = math.nan  # comparisons with nan are false, which would look like the rarest of all
    return ChanceTest(observed, numbers, p)


@torch.no_grad()
def effect_test(
    model: nn.Module,
    masks: Masks,
    metric: Callable[[nn.Module], float],
    *,
    draws: int = 99,
    seed: int = 0,
    within: Masks | None = None,
    alternative: str = "two-sided",
    removed: str = "zero",
    unit: str | Unit = "weight",
    heads: int | None = None,
) -> ChanceTest:
    """Measure the model under masks, beside the model under random ones with as many weights in each layer.

    Is the effect due to *these* weights, or would any as many do? Give ``~mask`` to test the removal of ``mask``.

    Args:
        metric: model -> number, for example its accuracy on a task.
        draws: random masks; each is one evaluation of the metric.
        seed: draw i is ``random_masks(masks, seed + i, within)``; for other draws, add ``draws`` to the seed.
        within: random masks are drawn among the weights that these keep, for example the full task's.
        removed: what stands in for removed weights (:func:`~modules_lib.masking.subnetworks.subnetwork`).
        unit, heads: as for :func:`random_masks`.
    """
    check_count("draws", draws)
    observed = measured(metric, subnetwork(model, masks, removed, seed))
    drawn = (random_masks(masks, seed + i, within, unit, heads) for i in range(draws))
    chance = [measured(metric, subnetwork(model, mask, removed, seed + i)) for i, mask in enumerate(drawn)]
    return compare_with_chance(observed, chance, alternative)


def sharing_test(
    target: Masks,
    *references: Masks,
    name: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
    alternative: str = "two-sided",
    keep: str = "layers",
) -> ChanceTest:
    """Compare sharing (eq. 14) with that of a target whose weights lie at random.

    Args:
        target, references, name: as for :func:`~modules_lib.analysis.compare.sharing`.
        draws: targets at random.
        keep: the numbers of kept weights in which random targets equal the target: those of its "layers" (the overlap
            in a layer is then hypergeometric), or of its "units", of each row and column of a layer, on average
            (``modules_lib.analysis.unit_null``). The second is harder to exceed: some units matter to every task.

    Raises:
        ValueError: there are no draws, or no such numbers to keep.
    """
    check_count("draws", draws)
    check_choice("numbers to keep", keep, OVERLAPS)
    observed = sharing(target, *references, name=name)
    overlaps = OVERLAPS[keep](target, reduce(or_, references), name, draws, seed)
    return compare_with_chance(observed, overlaps / max(1, target.count(name)), alternative)


def stability(masks: Sequence[Masks], draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Measure how far masks of one task from different noise agree: is there one module to be found?

    Args:
        masks: at least two, for example of ``find_masks(..., seed=s)`` for several s.
        draws: of random masks with as many weights in each layer, for the level by chance.

    Returns:
        a row for each masked tensor and ``total``: ``iou``, the mean intersection over union of all pairs, and
        ``chance``, its mean for masks placed at random.

    Raises:
        ValueError: there are fewer than two masks, or they are of different models.
    """
    if len(masks) < 2:
        raise ValueError(f"Stability compares masks with one another; give at least two, not {len(masks)}.")
    pairs = list(combinations(masks, 2))
    rows = [
        {
            "layer": name or "total",
            "iou": float(np.mean([iou(a, b, name) for a, b in pairs])),
            "chance": float(np.mean([_chance_iou(a, b, name, draws, seed) for a, b in pairs])),
        }
        for name in [*masks[0], None]
    ]
    return pd.DataFrame(rows)


def _chance_iou(first: Masks, second: Masks, name: str | None, draws: int, seed: int) -> float:
    """The mean intersection over union of masks with these numbers of weights, placed at random."""
    both = first.count(name) + second.count(name)
    overlaps = _overlaps(first, second, name, draws, seed)
    return float((overlaps / (both - overlaps)).mean()) if both else math.nan


def _overlaps(first: Masks, second: Masks, name: str | None, draws: int, seed: int) -> np.ndarray:
    """[draws]: weights that both would keep if each tensor's were placed at random."""
    generator = np.random.default_rng(seed)
    total = np.zeros(draws)
    for one in first if name is None else [name]:
        kept, other = first.count(one), second.count(one)
        total += generator.hypergeometric(other, second.size(one) - other, kept, draws)
    return total


def _unit_overlaps(first: Masks, second: Masks, name: str | None, draws: int, seed: int) -> np.ndarray:
    """[draws]: weights that both would keep if those of each unit of the first were placed at random."""
    generator = np.random.default_rng(seed)
    names = list(first) if name is None else [name]
    return sum((overlaps_by_units(first[one], second[one], draws, generator) for one in names), np.zeros(draws))


OVERLAPS = {"layers": _overlaps, "units": _unit_overlaps}
