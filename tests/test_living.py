"""Dead weights leave mask training, and nothing that it finds changes by it."""

import pytest
import torch
from torch import nn

from modules_lib import MaskedModel, noise, train_masks
from modules_lib.checkpoints import Checkpoint
from modules_lib.living import Grid, grids_at, positions_of
from modules_lib.models import FNN
from modules_lib.samplers import SAMPLERS, GumbelSigmoid, Sampler
from tests.test_resume import Stopper

BIAS = {"with biases": True, "without": False}


def network(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9, bias), nn.ReLU(), nn.Linear(9, 8, bias), nn.ReLU(), nn.Linear(8, 3, bias))


def partly_dead(model, **options):
    """Masks of which most weights are dead: whole rows and columns of layers, and one layer but for one weight."""
    masked = MaskedModel(model, 4, seed=1, batched=True, **options)
    generator = torch.Generator().manual_seed(2)
    logits = {name: torch.randn(shape, generator=generator) for name, shape in masked.shapes.items()}
    for name, rows, columns in (("0.weight", [1, 4, 7], [0, 5]), ("2.weight", [0, 6], [1, 4, 7])):
        logits[name][rows] = -25.0
        logits[name][:, columns] = -30.0
        logits[name][2, 2] = -40.0  # alone in a row and a column that live
    logits["4.weight"][:, :7] = -21.0
    logits["4.weight"][:2] = -22.0
    with torch.no_grad():
        masked.logits.copy_(torch.cat([each.flatten() for each in logits.values()]))
    return masked


def results(masked, x):
    """Outputs of a step, the gradient of the input, and that of the logits in the model's shapes."""
    x = x.clone().requires_grad_()
    masked.step, masked.logits.grad = 5, None
    outputs = masked(x)
    (outputs * torch.arange(outputs.numel()).reshape(outputs.shape)).sum().backward()
    return outputs.detach(), x.grad, torch.cat([part.flatten() for part in masked._named(masked.logits.grad).values()])


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("bias", BIAS.values(), ids=BIAS)
@pytest.mark.parametrize("batched", [True, False])
def test_a_step_without_the_dead_is_the_step_with_them(fuse, bias, batched):
    masked = partly_dead(network(bias), fuse=fuse)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
    outputs, dx, gradient = results(masked, x)
    masks, alive = masked.masks(), masked.logits.detach() > -20
    which = masked.leave_out_dead()
    assert len(which) == len(masked.logits) == 6 * 4 + 6 * 6 + 1 < len(alive)
    masked.batched = batched  # what comes in later batches may not be one pass
    again, its_dx, its_gradient = results(masked, x)
    torch.testing.assert_close(again, outputs)
    torch.testing.assert_close(its_dx, dx)
    torch.testing.assert_close(its_gradient[alive], gradient[alive])
    assert gradient[~alive].abs().max() < 1e-6 * gradient.abs().max()
    assert all(torch.equal(masked.masks()[name], masks[name]) for name in masks)
    assert all((p[~masks[name]] < 0.5).all() for name, p in masked.probabilities().items())


class Reluctant(GumbelSigmoid):
    """Says nothing of when a weight is dead."""

    DEAD = Sampler.DEAD


@pytest.mark.parametrize("sampler", [*SAMPLERS, Reluctant])
def test_only_what_no_noise_can_draw_is_left_out(sampler):
    """At the limit of each sampler, the largest number of the noise draws nothing; just above it all stay."""
    masked = partly_dead(network(), sampler=sampler)
    dead = masked.sampler.DEAD
    if sampler is Reluctant:
        assert masked.leave_out_dead() is None and len(masked.logits) == sum(masked.sizes)
        return
    keys = noise.mask_keys("largest", samples=1)
    largest = int(noise.mask_noise(keys, 1, 2**24)[0].argmax())
    [u] = noise.mask_noise(keys, 1, 1, torch.tensor([largest], dtype=torch.int32))
    assert u > 1 - 2**-22
    out = [torch.full((1,), torch.nan)]
    masked.sampler.masked(torch.tensor([dead]), torch.ones(1), keys, torch.tensor([largest], dtype=torch.int32), out)
    assert out[0] == 0.0
    with torch.no_grad():
        masked.logits.clamp_(min=dead + 0.01)
    assert masked.leave_out_dead() is None


def trained(monkeypatch, every, loop=None, **options):
    """Masks of a network that has to keep what passes its second input on; weights die within some fifty steps."""
    monkeypatch.setattr("modules_lib.optimizer.EVERY", every)
    torch.manual_seed(1)
    model = FNN(6, [32, 32], 2)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    target = model(x * torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])).detach()
    masked = MaskedModel(model, 4, seed=2, fuse=False, **options)

    def loss(outputs, target):
        return (outputs - target).square().mean()

    train_masks(masked, lambda step: (x, target), loss, steps=120, alpha=3e-4, lr=0.4, loop=loop)
    return masked


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_finds_the_same_masks(monkeypatch, precision):
    whole = trained(monkeypatch, 10**9, precision=precision)
    without = trained(monkeypatch, 10, precision=precision)
    assert whole.left is None and len(without.logits) < 0.5 * len(whole.logits)
    kept, own = whole.masks(), without.masks()
    assert 0 < kept.count() < 0.3 * kept.size()
    differing = sum(int((kept[name] ^ own[name]).sum()) for name in kept)
    assert differing <= (0 if precision == "float32" else 0.02 * kept.size())


def test_what_was_left_out_stays_out_after_a_stop(monkeypatch, tmp_path):
    """Stopped when some are out, the training goes on with the same bits."""
    whole = trained(monkeypatch, 10)
    with pytest.raises(KeyboardInterrupt):
        trained(monkeypatch, 10, loop=Stopper(tmp_path, 85).loop("masks"))
    assert "left" in Checkpoint(tmp_path, "masks", {}).load()[1]
    again = trained(monkeypatch, 10, loop=Stopper(tmp_path, -1).loop("masks"))
    assert torch.equal(again.logits, whole.logits) and torch.equal(again.left, whole.left)


def test_the_norm_that_is_clipped_counts_the_dead(monkeypatch):
    """Their gradient is the penalty's: the same update as if all were there."""
    steps = {}
    for every in (1, 10**9):
        masked = partly_dead(network())
        monkeypatch.setattr("modules_lib.optimizer.EVERY", every)
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
        batch = lambda step: (x, x[:, :3])  # noqa: B023, E731
        train_masks(masked, batch, nn.functional.mse_loss, steps=3, alpha=5.0, lr=0.1, clip=1.0)
        steps[every] = torch.cat([part.flatten() for part in masked.probabilities().values()])
        assert (masked.left is None) == (every > 1)
    torch.testing.assert_close(steps[1], steps[10**9], rtol=1e-4, atol=1e-8)


def test_positions_and_grids_are_inverse():
    generator = torch.Generator().manual_seed(0)
    shapes = [torch.Size([5, 7]), torch.Size([3, 5]), torch.Size([4, 3])]
    grids = [Grid.all(shape, torch.device("cpu")) for shape in shapes]
    some = [grid.living(torch.randn(grid.size, generator=generator), 0.8) for grid in grids]
    positions = positions_of(some)
    assert torch.equal(positions, positions.unique()) and len(positions) < sum(grid.size for grid in grids)
    for grid, again in zip(some, grids_at(positions, shapes), strict=True):
        assert torch.equal(grid.rows, again.rows) and torch.equal(grid.columns, again.columns)
        assert torch.equal(grid.whole(torch.ones(grid.size)).nonzero(), torch.cartesian_prod(grid.rows, grid.columns))
    [nothing] = [Grid.all(shapes[0], torch.device("cpu")).living(torch.full((35,), -1.0), 0.0)]
    assert nothing.size == 1
