"""What masks are compared with: random and largest weights, chance levels, p values.

Statistical tests allow five standard errors: a false alarm in a million runs of each."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from modules_lib import (
    Masks,
    compare_with_chance,
    effect_test,
    iou,
    magnitude_masks,
    random_masks,
    sharing,
    sharing_test,
    stability,
    subnetwork,
)
from modules_lib.analysis.unit_null import probabilities


def masks(kept, size=400, seed=0):
    return random_masks(Masks({"a": torch.arange(size) < kept, "b": torch.arange(10).view(2, 5) < 3}), seed)


def test_random_masks_keep_as_many_in_each_tensor_and_follow_from_the_seed():
    first = masks(100)
    drawn = [random_masks(first, seed) for seed in range(200)]
    assert all((m.count("a"), m.count("b"), m["b"].shape) == (100, 3, (2, 5)) for m in drawn)
    assert random_masks(first, 5) == drawn[5] and len({tuple(m["a"].tolist()) for m in drawn}) == 200
    often = torch.stack([m["a"] for m in drawn]).double().mean(0)  # every weight a quarter of the time
    error = (0.25 * 0.75 / 200) ** 0.5
    assert float((often - 0.25).abs().max()) < 5 * error


def test_magnitude_masks_keep_the_largest_whatever_their_sign():
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -9.0, 2.0, 0.1], [-3.0, 4.0, 0.2, 5.0]]))
    some = Masks({"weight": torch.tensor([[True, False, False, False], [True, True, False, False]])})
    assert magnitude_masks(model, some)["weight"].tolist() == [[False, True, False, False], [False, True, False, True]]
    with pytest.raises(ValueError, match="another model: this one has no weight of shape"):
        magnitude_masks(nn.Linear(3, 2), some)


def test_p_values_by_hand():
    chance = [1.0, 2.0, 3.0, 4.0]
    assert compare_with_chance(0.0, chance, "less").p == 1 / 5
    assert compare_with_chance(0.0, chance, "greater").p == 1
    assert compare_with_chance(2.0, chance, "less").p == 3 / 5  # as extreme counts, too
    assert compare_with_chance(9.0, chance).p == 2 / 5
    test = compare_with_chance(9.0, chance)
    assert (test.observed, test.expected) == (9.0, 2.5) and test.interval(1.0) == (1.0, 4.0)
    assert str(test) == "9 (by chance 1.08 to 3.92, p = 0.4)"
    for bad, message in (([], "number of draws is 0"), (chance, "Unknown alternative 'more'")):
        with pytest.raises(ValueError, match=message):
            compare_with_chance(1.0, bad, "more" if bad else "less")


def test_what_cannot_be_compared_has_no_p_value():
    assert math.isnan(compare_with_chance(math.nan, [0.1, 0.2]).p)
    assert math.isnan(compare_with_chance(0.1, [0.1, math.nan], "less").p)
    nothing, some = (Masks({"w": torch.full((4, 4), value)}) for value in (False, True))
    assert math.isnan(sharing_test(nothing, some, draws=50).p)


def test_p_values_are_uniform_where_there_is_nothing_to_find():
    p = [
        sharing_test(masks(150, seed=2 * i), masks(120, seed=2 * i + 1), draws=199, alternative="less").p
        for i in range(300)
    ]
    for level in (0.1, 0.3, 0.5):
        error = (level * (1 - level) / 300) ** 0.5
        assert np.mean(np.array(p) <= level) < level + 5 * error  # never too small too often
    assert np.mean(p) < 0.7


def test_the_overlap_by_chance_is_that_of_permuted_masks():
    a, b = masks(150, seed=1), masks(120, seed=2)
    drawn = sharing_test(a, b, draws=4000).chance
    permuted = np.array([sharing(random_masks(a, 100 + i), b) for i in range(1000)])
    error = (drawn.var() / 4000 + permuted.var() / 1000) ** 0.5
    assert abs(drawn.mean() - permuted.mean()) < 5 * error and 0.8 < drawn.std() / permuted.std() < 1.25


def test_sharing_that_is_no_chance_is_found():
    a = masks(100)
    assert sharing_test(a, a).p == pytest.approx(2 / 10_001) and sharing_test(a, a).observed == 1
    assert sharing_test(a, ~a, alternative="less").p < 1e-3 and sharing_test(a, ~a, alternative="greater").p == 1
    assert sharing_test(a, ~a, masks(50, seed=3), name="a").chance.mean() > 0.5


def crowded(seed, units=20, size=60):
    """[size, size]: most kept weights are those of a few units, the same ones for every seed."""
    generator = torch.Generator().manual_seed(seed)
    busy = torch.where(torch.arange(size) < units, 0.7, 0.1)
    return Masks({"w": torch.rand((size, size), generator=generator) < busy[:, None] * busy[None]})


def test_probabilities_at_random_keep_every_units_number():
    mask = crowded(1)["w"]
    mask[5], mask[:, 7], mask[9] = False, False, True
    chance = probabilities(mask)
    for dim in (0, 1):
        assert torch.allclose(chance.sum(dim), mask.double().sum(dim), atol=2e-3)
    assert (
        not chance[5].any()
        and float(chance[:9, 7].max()) < 1e-6
        and float(chance.min()) >= 0
        and float(chance.max()) <= 1
    )
    assert probabilities(torch.tensor([True, False, False, False])).tolist() == [0.25] * 4
    whole = torch.ones(3, 4, dtype=torch.bool)
    assert torch.equal(probabilities(whole), whole.double()) and not probabilities(~whole).any()


def test_units_that_matter_to_both_tasks_are_not_shared_weights():
    """Masks that are independent given their units. False alarms of the right test: 1 in 100 a pair; 5 of 40 pairs are
    exceeded in one of 50,000 runs."""
    pairs = [(crowded(2 * i), crowded(2 * i + 1)) for i in range(40)]
    by_layer, by_units = (
        [sharing_test(a, b, draws=199, alternative="greater", keep=keep).p for a, b in pairs]
        for keep in ("layers", "units")
    )
    assert all(p < 0.01 for p in by_layer) and sum(p <= 0.01 for p in by_units) <= 5
    assert all(sharing_test(a, a, draws=199, alternative="greater", keep="units").p == 1 / 200 for a, _ in pairs[:3])
    with pytest.raises(ValueError, match="layers, units"):
        sharing_test(*pairs[0], keep="rows")


def test_the_effect_of_these_weights_is_told_from_that_of_any():
    model = nn.Linear(30, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, :5] = 1.0

    def total(network):
        return float(network.weight.sum())

    needed = Masks({"weight": torch.arange(30).view(1, 30) < 5})
    test = effect_test(model, needed, total, draws=99, alternative="greater")
    assert test.observed == 5 and test.p == 1 / 100 and len(test.chance) == 99
    removed = effect_test(model, ~needed, total, draws=99, alternative="less")
    assert removed.observed == 0 and removed.p == 1 / 100 and 3 < removed.expected < 5
    assert total(subnetwork(model, random_masks(needed, 3))) == test.chance[3]
    with pytest.raises(ValueError, match="draws is 0"):
        effect_test(model, needed, total, draws=0)


def test_stability_is_set_against_chance():
    a, b = masks(100, seed=1), masks(100, seed=2)
    table = stability([a, a, b]).set_index("layer")
    assert table.loc["a", "iou"] == pytest.approx((1 + 2 * iou(a, b, "a")) / 3)
    assert table.loc["a", "chance"] == pytest.approx(25 / 175, abs=0.01)
    assert list(table.index) == ["a", "b", "total"]
    with pytest.raises(ValueError, match="at least two, not 1"):
        stability([a])
