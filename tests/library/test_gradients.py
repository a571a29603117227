"""Gradients of masks are those of K runs with weights of their own, also where blocks change or run again."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from modules_lib import (
    MaskedModel,
)
from tests.library.kept import BATCH, K


def separate(model, x, masked_weights, loss):
    """The gradient of each slice's weights from a run of its own."""
    gradients = []
    for part, weights in zip(x.chunk(len(masked_weights)), masked_weights, strict=True):
        own = copy.deepcopy(model).eval()
        parameters = dict(own.named_parameters())
        for name, weight in weights.items():
            parameters[name].data = weight.clone()
        loss(own(part)).backward()
        gradients.append({name: parameters[name].grad for name in weights})
    return gradients


def assert_gradients_are_those_of_separate_runs(model, x):
    """The gradient of the logits, from the weights of the same noise in K runs of their own."""
    masked = MaskedModel(model, K, start=0.0, seed=3)
    clone = MaskedModel(copy.deepcopy(model), K, start=0.0, seed=3, batched=False)
    clone.weights.requires_grad_()
    loss = lambda out: out.square().sum()  # noqa: E731
    loss(masked(x)).backward()
    samples = []
    original = clone._called

    def called(weights, part):
        samples.append(dict(zip(clone.shapes, (w.detach() for w in weights), strict=True)))
        return original(weights, part)

    clone._called = called
    loss(clone(x)).backward()
    own = separate(model, x, samples[-K:], loss)
    total = torch.zeros_like(clone.weights)
    for sample, gradient in zip(samples[-K:], own, strict=True):
        flat = torch.cat([gradient[name].flatten() for name in sample])
        kept = torch.cat([(sample[name] != 0).float().flatten() for name in sample])
        total += flat * kept
    if all(len(shape) < 4 for shape in clone.shapes.values()):
        torch.testing.assert_close(clone.weights.grad, total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked.logits.grad, clone.logits.grad, rtol=1e-4, atol=1e-6)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.block = nn.Linear(5, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.block, torch.tanh(self.first(x)), use_reentrant=self.reentrant)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x):
        out = self.first(x)
        out += x
        return self.second(out.mul_(2))


class OwnRecompute(torch.autograd.Function):
    """A block that is run again in the backward pass by other means than torch's."""

    @staticmethod
    def forward(ctx, block, x, *weights):
        ctx.block, ctx.weights = block, weights
        ctx.save_for_backward(x)
        with torch.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx, grad):
        [x] = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out = ctx.block(x)
        found = torch.autograd.grad(out, [x, *ctx.block.parameters()], grad, allow_unused=True)
        return (None, found[0], *found[1:])


class OwnCheckpoint(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x):
        return OwnRecompute.apply(self.block, x, *self.block.parameters())


IN_PLACE = {
    "relu": lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
    "sum": Residual,
    "checkpointed": lambda: Checkpointed(False),
    "checkpointed, reentrant": lambda: Checkpointed(True),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_and_checkpointed_blocks_have_the_gradients_of_separate_runs(name):
    torch.manual_seed(0)
    assert_gradients_are_those_of_separate_runs(IN_PLACE[name](), torch.randn(BATCH, 5))


def test_memory_efficient_densenets_have_their_gradients():
    densenet = pytest.importorskip("torchvision").models.densenet
    torch.manual_seed(0)
    kind = lambda memory_efficient: densenet.DenseNet(  # noqa: E731
        4, (2, 2), 8, num_classes=3, memory_efficient=memory_efficient
    )
    plain, thrifty = kind(False).eval(), kind(True).eval()
    thrifty.load_state_dict(plain.state_dict())
    gradients = []
    for model in (plain, thrifty):
        model.train()  # checkpoints only then; a masked model is in evaluation mode
        for block in model.modules():
            block.training = False
        x = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
        masked = MaskedModel(model, K, start=1.0, seed=1)
        masked(x).square().sum().backward()
        gradients.append(masked.logits.grad)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_a_block_that_recomputes_by_its_own_means_is_refused():
    with pytest.raises(ValueError, match="gradient of block.* is not right .* switch such checkpointing off"):
        MaskedModel(OwnCheckpoint(), K)(torch.randn(BATCH, 5))


class Turned(nn.Module):
    """Has another gradient in one of its calls, as where rounding falls on the other side of a kink."""

    def __init__(self, turned):
        super().__init__()
        self.layer, self.calls, self.turned = nn.Linear(5, 3), 0, turned

    def forward(self, x):
        self.calls += 1
        out = self.layer(x)
        return 2 * out - out.detach() if self.calls == self.turned else out


@pytest.mark.parametrize("turned", range(1, 20))
def test_a_gradient_that_rounding_turns_once_is_no_wrong_gradient(turned):
    torch.manual_seed(0)
    masked = MaskedModel(Turned(turned), K)
    masked(torch.randn(BATCH, 5))
    assert masked.batched
