"""Dead weights leave mask training, and nothing that it finds changes by it."""

import pytest
import torch
from torch import nn

from modules_lib import MaskedModel, train_masks
from modules_lib.masking import samplers
from modules_lib.masking.dead_weights import Grid, grids_at, positions_of
from modules_lib.masking.samplers import SAMPLERS, GumbelSigmoid
from modules_lib.models.paper_networks import FNN
from modules_lib.support import rng as noise
from modules_lib.training.checkpoints import Checkpoint
from modules_lib.training.mask_adam import MaskAdam
from tests.reproduction.test_resume import Stopper

BIAS = {"with biases": (True, False), "without": (False, False), "with masked biases": (True, True)}


def network(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9, bias), nn.ReLU(), nn.Linear(9, 8, bias), nn.ReLU(), nn.Linear(8, 3, bias))


def partly_dead(model, samples=4, masked_biases=False, **options):
    """Masks of which most weights are dead: whole rows and columns of layers, and one layer but for one weight."""
    where = (lambda name: True) if masked_biases else None
    masked = MaskedModel(model, samples, where, seed=1, batched=True, **options)
    generator = torch.Generator().manual_seed(2)
    logits = {name: torch.randn(shape, generator=generator) for name, shape in masked.shapes.items()}
    for name, rows, columns in (("0.weight", [1, 4, 7], [0, 5]), ("2.weight", [0, 6], [1, 4, 7])):
        logits[name][rows] = -25.0
        logits[name][:, columns] = -30.0
        logits[name][2, 2] = -40.0  # alone in a row and a column that live
    logits["4.weight"][:, :7] = -21.0
    logits["4.weight"][:2] = -22.0
    if masked_biases:
        logits["0.bias"][:4] = -23.0
        logits["2.bias"][:] = -24.0
    with torch.no_grad():
        masked.logits.copy_(torch.cat([each.flatten() for each in logits.values()]))
    return masked


def drop_dead(masked):
    return masked.drop_dead(torch.ones(len(masked.logits), dtype=torch.bool), steps=10**9)


def results(masked, x):
    """Outputs of a step, the gradient of the input, and that of the logits in the model's shapes."""
    x = x.clone().requires_grad_()
    masked.step, masked.logits.grad = 5, None
    outputs = masked(x)
    (outputs * torch.arange(outputs.numel()).reshape(outputs.shape)).sum().backward()
    return outputs.detach(), x.grad, torch.cat([part.flatten() for part in masked._named(masked.logits.grad).values()])


LEFT, LEFT_BIASES = 6 * 4 + 6 * 6 + 1, 5 + 1 + 3  # of 150 weights and 20 biases


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("bias", "masked_biases"), BIAS.values(), ids=BIAS)
def test_a_step_without_the_dead_is_the_step_with_them(bias, masked_biases, sampler, samples, batched):
    """Also of a layer that is given several rows for each of the batch, in one pass and slice by slice."""
    masked = partly_dead(network(bias), samples, masked_biases, sampler=sampler)
    x = torch.randn(12, 2, 6, generator=torch.Generator().manual_seed(3))
    outputs, dx, gradient = results(masked, x)
    masks, alive = masked.masks(), masked.logits.detach() > -20
    which = drop_dead(masked)
    assert len(which) == len(masked.logits) == LEFT + masked_biases * LEFT_BIASES
    assert len(alive) == 150 + masked_biases * 20
    masked.batched = batched  # a later batch may take another way through the model
    again, its_dx, its_gradient = results(masked, x)
    torch.testing.assert_close(again, outputs)
    torch.testing.assert_close(its_dx, dx)
    torch.testing.assert_close(its_gradient[alive], gradient[alive])
    assert all(torch.equal(masked.masks()[name], masks[name]) for name in masks)
    assert all((p[~masks[name]] < 0.5).all() for name, p in masked.probabilities().items())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_it_is_the_same(precision):
    x, both = torch.randn(8, 6, generator=torch.Generator().manual_seed(3)), []
    for fuse in (False, True):
        masked = partly_dead(network(), masked_biases=True, fuse=fuse, precision=precision)
        assert len(drop_dead(masked)) == LEFT + LEFT_BIASES
        both.append(results(masked, x))
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_dead_is_kept_by_no_noise(monkeypatch, name):
    """Not by the largest number that the noise has, 1 - 2^-24, up to the sampler's limit."""
    monkeypatch.setattr(samplers, "mask_noise", lambda keys, samples, size, start: [torch.tensor([1 - 2.0**-24])])
    keys, start = noise.mask_keys("any", samples=1), torch.tensor(0)

    def sample(logit):
        out = [torch.full((1,), torch.nan)]
        SAMPLERS[name].masked(torch.tensor([logit]), torch.ones(1), keys, start, out)
        return out[0].item()

    assert sample(SAMPLERS[name].DEAD) == 0.0 and sample(5.0) == 1.0
    if name == "hard-concrete":
        assert sample(-18.1) > 0 == sample(-18.3)


class OfOnesOwn(GumbelSigmoid):
    """Says nothing of when a weight is dead."""


def test_a_sampler_that_does_not_say_what_is_dead_keeps_all():
    assert drop_dead(partly_dead(network(), sampler=OfOnesOwn)) is None


def test_only_what_falls_and_is_a_number_is_dead():
    masked = partly_dead(network())
    assert masked.drop_dead(torch.zeros(150, dtype=torch.bool), steps=10**9) is None
    with torch.no_grad():
        masked.logits[6:12] = torch.nan  # a row of dead weights
    assert len(drop_dead(masked)) == LEFT - 6 * 4 + 7 * 6  # one more row, and all columns
    with pytest.raises(ValueError, match="Some mask logits are not numbers"):
        masked.masks()


def test_too_few_steps_are_not_worth_compiling_for():
    """None of 89 weights leaves that 4 samples have in 2 * 10^7 steps, at 10^10 samples to save; in 4 * 10^7 all do."""
    masked = partly_dead(network(), fuse=True, sampler="hard-concrete")
    falling = torch.ones(150, dtype=torch.bool)
    assert masked.drop_dead(falling, steps=2 * 10**7) is None
    assert len(masked.drop_dead(falling, steps=4 * 10**7)) == LEFT
    with torch.no_grad():
        masked.logits[:20] = -30.0
    assert masked.drop_dead(falling[:LEFT], steps=1) is not None  # from then on it costs nothing
    for options in ({"sampler": "hard-concrete", "fuse": False}, {"fuse": True}):  # the default is compiled ahead
        assert partly_dead(network(), **options).drop_dead(falling, steps=1) is not None


def test_what_is_not_linear_layers_in_one_pass_keeps_all():
    masked = partly_dead(network())
    masked.batched = False
    assert drop_dead(masked) is None


def test_the_wrapped_model_is_left_as_it_is():
    model = network()
    before = [p.clone() for p in model.parameters()]
    masked = partly_dead(model)
    drop_dead(masked)
    masked.write_weights()  # for weights that are trained
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trained_weights_are_written_and_those_that_left_stay(precision):
    model = network()
    before = torch.cat([p.detach().flatten() for name, p in model.named_parameters() if "weight" in name])
    masked = partly_dead(model, precision=precision)
    masked.weights.requires_grad_()
    which = drop_dead(masked)
    assert masked.weights.requires_grad
    with torch.no_grad():
        masked.weights.fill_(0.5)
    masked.write_weights()
    after = torch.cat([p.detach().flatten() for name, p in model.named_parameters() if "weight" in name])
    left = torch.ones(150, dtype=torch.bool).index_fill(0, which, False)
    assert (after[~left] == 0.5).all() and torch.equal(after[left], before[left])


@pytest.mark.gpu
def test_what_is_left_moves_to_a_gpu():
    masked, x = partly_dead(network()), torch.ones(8, 6)
    drop_dead(masked)
    outputs, *_ = results(masked, x)
    again, *_ = results(masked.to("cuda"), x.cuda())
    torch.testing.assert_close(again.cpu(), outputs)


def trained(monkeypatch, every, loop=None, masked=None, **options):
    """Masks of a network that has to keep what passes its second input on; weights die within some fifty steps."""
    monkeypatch.setattr("modules_lib.training.mask_adam.EVERY", every)
    torch.manual_seed(1)
    model = FNN(6, [32, 32], 2)
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    target = model(x * torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])).detach()
    masked = masked or MaskedModel(model, 4, seed=2, fuse=False, **options)

    def loss(outputs, target):
        return (outputs - target).square().mean()

    train_masks(masked, lambda step: (x, target), loss, steps=120, alpha=3e-4, lr=0.4, clip=1e-2, loop=loop)
    return masked


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_finds_the_same_masks(monkeypatch, precision):
    whole = trained(monkeypatch, 10**9, precision=precision)
    without = trained(monkeypatch, 10, precision=precision)
    assert whole.living is None and len(without.logits) < 0.5 * len(whole.logits)
    kept, own = whole.masks(), without.masks()
    assert 0 < kept.count() < 0.3 * kept.size()
    differing = sum(int((kept[name] ^ own[name]).sum()) for name in kept)
    assert differing <= (0 if precision == "float32" else 0.02 * kept.size())


@pytest.mark.parametrize("again", ["a new model", "the same model", "a model that is further"])
def test_what_was_left_out_stays_out_after_a_stop(monkeypatch, tmp_path, again):
    """Stopped when some are out, the training goes on with the same bits, whatever is there to go on with."""
    whole = trained(monkeypatch, 10)
    masked = trained(monkeypatch, 10) if again == "a model that is further" else MaskedModel(FNN(6, [32, 32], 2))
    if again == "the same model":
        torch.manual_seed(1)
        masked = MaskedModel(FNN(6, [32, 32], 2), 4, seed=2, fuse=False)
    with pytest.raises(KeyboardInterrupt):
        stopped = masked if again == "the same model" else None
        trained(monkeypatch, 10, Stopper(tmp_path, 85).loop("masks"), stopped)
    assert "living" in Checkpoint(tmp_path, "masks", {}).load()[1]
    goes_on = None if again == "a new model" else masked
    end = trained(monkeypatch, 10, Stopper(tmp_path, -1).loop("masks"), goes_on)
    assert torch.equal(end.logits, whole.logits) and torch.equal(end.living, whole.living)
    assert torch.equal(end.weights, whole.weights)


def test_the_norm_that_is_clipped_counts_the_dead():
    """Their gradient is the penalty's: the same moments as if all were there, also of a second training."""
    moments = []
    for without in (False, True):
        masked = partly_dead(network())
        if without:
            drop_dead(masked)
        adam = MaskAdam(masked, lr=0.1, alpha=5.0, clip=1.0, steps=100)
        masked(torch.ones(8, 6)).sum().backward()
        adam.step()
        moments.append(adam.logits.mean[masked.logits.detach() > -19])
    torch.testing.assert_close(*moments)


def test_positions_and_grids_are_inverse():
    generator = torch.Generator().manual_seed(0)
    shapes = [torch.Size([5, 7]), torch.Size([5]), torch.Size([3, 5]), torch.Size([4, 3])]
    grids = [Grid.all(shape, torch.device("cpu")) for shape in shapes]
    some = [grid.living(torch.randn(grid.size, generator=generator) < 0.8) for grid in grids]
    positions = positions_of(some)
    assert torch.equal(positions, positions.unique()) and len(positions) < sum(grid.size for grid in grids)
    for grid, again in zip(some, grids_at(positions, shapes), strict=True):
        assert torch.equal(grid.rows, again.rows) and torch.equal(grid.columns, again.columns)
        whole = grid.whole(torch.ones(grid.size))
        assert whole.shape == grid.shape
        assert torch.equal(whole.view(len(whole), -1).nonzero(), torch.cartesian_prod(grid.rows, grid.columns))
    [nothing] = [Grid.all(shapes[0], torch.device("cpu")).living(torch.ones(35, dtype=torch.bool))]
    assert nothing.size == 1
