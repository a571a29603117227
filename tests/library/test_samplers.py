"""The samplers: each against a plain version of its formula that autograd differentiates, and in training."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import MaskedModel, Sampler, StraightThrough, subnetwork, train_masks
from modules_lib.masking.sample_weights import mask_weights
from modules_lib.masking.samplers import SAMPLERS, HardConcrete
from modules_lib.support.rng import mask_keys, mask_noise

SIZE, K = 3000, 3
SIGMAS = 5  # false alarms: one in a million


def plain(name, logits, u):
    """Masks [n] of logits and uniform noise as the papers write them, differentiable by autograd."""
    logistic = torch.log(u) - torch.log(1 - u)
    if name == "gumbel-sigmoid":
        soft = torch.sigmoid(logits + logistic)
        return (soft > 0.5).double() + soft - soft.detach()
    if name == "hard-concrete":
        soft = torch.sigmoid((logits + logistic) / (2 / 3))
        return (soft * 1.2 - 0.1).clamp(0, 1)
    soft = torch.sigmoid(logits)
    return (logits > 0).double() + soft - soft.detach()


@pytest.mark.parametrize("fuse", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_values_and_gradients_are_those_of_the_formula(name, fuse):
    generator = torch.Generator().manual_seed(0)
    start = 2 * torch.randn(SIZE, generator=generator)
    values = torch.randn(SIZE, generator=generator)
    factors = torch.randn(K, SIZE, generator=generator)
    keys = mask_keys("test", name, samples=K)
    logits, weights = start.clone().requires_grad_(), values.clone().requires_grad_()
    ours = torch.stack([s for (s,) in mask_weights(logits, weights, keys, K, None, fuse, SAMPLERS[name])])
    (ours * factors).sum().backward()

    exact, exact_weights = start.double().requires_grad_(), values.double().requires_grad_()
    noise = mask_noise(keys, K, SIZE)
    theirs = torch.stack([plain(name, exact, u.double()) * exact_weights for u in noise])
    (theirs * factors.double()).sum().backward()
    torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits.grad.double(), exact.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weights.grad.double(), exact_weights.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("logit", [-2.0, 0.0, 3.0])
def test_hard_concrete_is_zero_and_one_as_often_as_its_distribution_says(logit):
    count = 400_000
    keys = mask_keys("frequency", logit, samples=1)
    [[masks]] = mask_weights(torch.full((count,), logit), torch.ones(count), keys, sampler=HardConcrete)
    temperature, low, high = HardConcrete.TEMPERATURE, HardConcrete.LOW, HardConcrete.HIGH
    edge = torch.log(torch.tensor(-low / high, dtype=torch.float64))
    for value, p in (
        (0.0, torch.sigmoid(temperature * edge - logit)),
        (1.0, torch.sigmoid(logit + temperature * edge)),
    ):
        error = float((p * (1 - p) / count) ** 0.5)
        assert abs(float((masks == value).double().mean()) - float(p)) < SIGMAS * error


def test_straight_through_has_no_noise():
    logits = torch.tensor([-1.0, 0.5, 0.0, 2.0])
    for seed in range(3):
        samples = mask_weights(logits, torch.ones(4), mask_keys(seed, samples=2), 2, sampler=StraightThrough)
        assert all(torch.equal(s, torch.tensor([0.0, 1.0, 0.0, 1.0])) for (s,) in samples)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", SAMPLERS)
def test_each_finds_the_weights_that_a_task_needs(name, batched):
    """Two inputs are added up by two layers of one unit; a third input, which the task never uses, is not."""
    model = nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0, 0.7]]))
        model[1].weight.fill_(1.0)

    def batch(step):
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step))
        return x, x[:, :2].sum(1, keepdim=True)

    masked = MaskedModel(model, samples=4, sampler=name, batched=batched)
    train_masks(masked, batch, F.mse_loss, steps=300, alpha=1e-3, lr=5e-2)
    found = masked.masks()
    assert found["0.weight"].tolist() == [[True, True, False]] and found["1.weight"].item()
    x, y = batch(1000)
    assert F.mse_loss(subnetwork(model, found)(x), y) < 1e-6


def test_a_sampler_of_ones_own_can_be_given():
    class KeepsAll(StraightThrough):
        @staticmethod
        def masked(logits, weights, keys, start, out):
            for sample in out:
                sample.copy_(weights)

    model, x = nn.Linear(4, 2), torch.randn(8, 4)
    assert issubclass(KeepsAll, Sampler)
    torch.testing.assert_close(MaskedModel(model, start=-9.0, sampler=KeepsAll)(x), model(x))


def test_a_sampler_that_lacks_a_function_is_refused():
    class Misspelt(Sampler):
        @staticmethod
        def masked(logits, weights, keys, start, out):
            pass

        @staticmethod
        def logits_gradient(logits, weights, keys, start, out, grads):
            pass

    with pytest.raises(ValueError, match="Misspelt is no whole sampler: it lacks logit_gradient, weight_gradient"):
        MaskedModel(nn.Linear(3, 2), sampler=Misspelt)
    with pytest.raises(ValueError, match="Linear is no whole sampler"):
        MaskedModel(nn.Linear(3, 2), sampler=nn.Linear)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="Unknown sampler 'relax'; it must be one of gumbel-sigmoid, hard-concrete"):
        MaskedModel(nn.Linear(3, 2), sampler="relax")
