"""What stands in for removed weights: zero, the mean, numbers drawn anew, or those of other removed weights."""

import pytest
import torch
from torch import nn

from modules_lib import Masks, effect_test, evaluate, subnetwork


@pytest.fixture
def case():
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    return model, Masks({"weight": torch.rand(30, 40) < 0.3})


def test_kept_weights_stay_whatever_stands_in(case):
    model, masks = case
    kept = masks["weight"]
    for removed in ("zero", "mean", "redrawn", "permuted"):
        weight = subnetwork(model, masks, removed, seed=1).weight
        assert torch.equal(weight[kept], model.weight[kept])
        assert removed == "zero" or not (weight[~kept] == 0).any()


def test_each_number_is_what_its_name_says(case):
    model, masks = case
    gone = ~masks["weight"]
    assert bool((subnetwork(model, masks)._parameters["weight"][gone] == 0).all())
    means = subnetwork(model, masks, "mean").weight[gone]
    torch.testing.assert_close(means, model.weight.mean().expand_as(means))
    permuted = subnetwork(model, masks, "permuted").weight[gone]
    assert torch.equal(permuted.sort().values, model.weight[gone].sort().values)
    assert not torch.equal(permuted, model.weight[gone])
    redrawn = subnetwork(model, masks, "redrawn").weight[gone]
    assert redrawn.abs().max() <= 40**-0.5 < 1.05 * redrawn.abs().max()  # a linear layer's first weights are uniform
    assert (redrawn != model.weight[gone]).all()


@pytest.mark.parametrize("removed", ["redrawn", "permuted"])
def test_a_seed_draws_the_same_again_and_leaves_the_generator_alone(case, removed):
    model, masks = case
    before = torch.get_rng_state()
    first, again, other = (subnetwork(model, masks, removed, seed).weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_measurements_take_it(case):
    model, masks = case
    metric = lambda network: network.weight[~masks["weight"]].abs().sum()  # noqa: E731
    table = evaluate(model, {"a": masks}, metric, removed="mean")
    assert table.loc["a", "value"] > 0 == evaluate(model, {"a": masks}, metric).loc["a", "value"]
    test = effect_test(model, masks, metric, draws=3, removed="permuted")
    assert test.observed == pytest.approx(evaluate(model, {"a": masks}, metric).loc["unmasked", "value"], rel=1e-5)


def test_what_cannot_be_drawn_is_refused(case):
    model, masks = case
    with pytest.raises(ValueError, match="Unknown value for removed weights 'one'; it must be one of zero, mean"):
        subnetwork(model, masks, "one")

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(30, 40))

    with pytest.raises(ValueError, match="weight cannot be drawn anew: its Own has no reset_parameters"):
        subnetwork(Own(), masks, "redrawn")
