"""The training loops on small networks: what they learn, and what they refuse."""

import math

import pytest
import torch
from torch import nn

from modules_lib import MaskedModel, train_masks, train_weights
from modules_lib.masking.samplers import GumbelSigmoid, HardConcrete, worth_compiling


def test_training_finds_the_weights_that_a_subtask_needs():
    # The model computes both sums x0 + x1 and x2 + x3; a mask for the first needs two of the eight weights.
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    generator = torch.Generator().manual_seed(0)

    def batch(step):
        x = torch.randn(64, 4, generator=generator)
        return x, x[:, 0] + x[:, 1]

    masked = MaskedModel(model, samples=4)
    train_masks(masked, batch, lambda out, y: (out[:, 0] - y).square().mean(), steps=1000, alpha=1e-3)
    assert masked.masks()["weight"].tolist() == [[True, True, False, False], [False] * 4]


def test_training_weights_learns():
    torch.manual_seed(0)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
    model = train_weights(
        nn.Linear(3, 1), lambda step: (x, y), lambda out, y: (out - y).square().mean(), steps=400, lr=3e-2
    )
    assert (model(x) - y).abs().max() < 0.05 and not model.training


def test_the_rate_falls_to_zero_in_a_cooldown():
    """Under a constant gradient each step of Adam is as long as its rate."""
    model = nn.Linear(1, 1, bias=False)
    first = model.weight.item()
    x = torch.ones(1, 1)
    train_weights(model, lambda step: (x, None), lambda out, _: out.sum(), steps=10, lr=0.1, cooldown=0.5)
    assert first - model.weight.item() == pytest.approx(0.1 * (6 + 0.8 + 0.6 + 0.4 + 0.2), rel=1e-4)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_is_refused_before_it_undoes_the_masks(what):
    masked = MaskedModel(nn.Linear(3, 2), samples=2)
    train_masks(masked, lambda step: (torch.ones(4, 3), None), lambda o, _: o.mean(), steps=3, alpha=1e-3)
    before = masked.logits.detach().clone()
    loss = {"loss": lambda o, _: o.mean() * math.nan, "gradient": lambda o, _: (o - o).abs().sqrt().sum()}[what]
    with pytest.raises(ValueError, match="gradient of the loss is not finite at step 1 of mask training"):
        train_masks(masked, lambda step: (torch.ones(4, 3), None), loss, steps=3, alpha=1e-3)
    assert torch.equal(masked.logits, before)
    with torch.no_grad():
        masked.logits[0] = math.nan
    with pytest.raises(ValueError, match="Some mask logits are not numbers"):
        masked.masks()


@pytest.mark.parametrize("setting, value", [("lr", 0.0), ("lr", -1e-2), ("clip", 0.0), ("clip", math.nan)])
def test_rates_that_cannot_train_are_refused(setting, value):
    batch, loss = (lambda step: (torch.ones(4, 3), None)), (lambda o, _: o.mean())
    with pytest.raises(ValueError, match=f"{setting} is .*; it must be a number above 0"):
        train_masks(MaskedModel(nn.Linear(3, 2)), batch, loss, steps=1, alpha=0.0, **{setting: value})
    with pytest.raises(ValueError, match=f"{setting} is .*; it must be a number above 0"):
        train_weights(nn.Linear(3, 2), batch, loss, steps=1, **{setting: value})


@pytest.mark.parametrize("alpha", [-1e-4, float("nan"), float("inf"), "1e-4", None, True])
def test_an_alpha_that_is_no_number_of_at_least_zero_is_refused_before_training(alpha):
    def batch(step):
        raise AssertionError("training began")

    with pytest.raises(ValueError, match="alpha is .*; it must be a number of at least 0"):
        train_masks(MaskedModel(nn.Linear(3, 2)), batch, nn.functional.mse_loss, steps=1, alpha=alpha)


def test_compiling_pays_for_many_steps_or_many_samples():
    small, large = [torch.empty(10, 10)], [torch.empty(1000, 1000)]
    assert [worth_compiling(HardConcrete, small, 4, steps) for steps in (1, 499, 500)] == [False, False, True]
    assert [worth_compiling(HardConcrete, large, 4, steps) for steps in (10, 249, 250)] == [False, False, True]
    assert [worth_compiling(HardConcrete, weights, 4) for weights in (small, large)] == [False, True]


def test_a_sampler_that_is_compiled_ahead_is_always_taken():
    assert worth_compiling(GumbelSigmoid, [torch.empty(10, 10)], 4, 1) and MaskedModel(nn.Linear(10, 10)).fuse
    assert not worth_compiling(GumbelSigmoid, [torch.empty(10, 10, device="meta")], 4, 1)
    assert not MaskedModel(nn.Linear(10, 10), sampler="hard-concrete").fuse
