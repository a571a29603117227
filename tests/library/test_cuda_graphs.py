"""Steps that are captured once and replayed are plain steps to the bit; with a stand-in for the graph (recorded_steps).

On a GPU the same is looked at with real graphs.
"""

import functools
import warnings

import pytest
import torch
import torch.nn.functional as F

from modules_lib import MaskedModel, MaskTraining
from modules_lib.datasets import arithmetic, scan
from modules_lib.models import lstm_layer
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import CNN, FNN, RepeatLSTM
from modules_lib.support.trees import map_tensors
from modules_lib.training import mask_adam
from modules_lib.training.cuda_graphs import CAPTURING, WARM_UP
from modules_lib.training.loops import mask_steps, train_weights
from tests.library.recorded_steps import Recorded
from tests.library.test_dead_weights import LEFT, network, partly_dead
from tests.library.test_host_traffic import COMMANDS, ROWS, TOKENS, WORDS
from tests.reproduction.test_resume import Stopper

STEPS = 9
ADDITIONS = arithmetic.Arithmetic.of("add", "mul")


def additions(step):
    return ADDITIONS.batch(ROWS, "graphs", step)


def numbers(step, rows=ROWS, inputs=6, outputs=3):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(rows, inputs, generator=generator), torch.randn(rows, outputs, generator=generator)


def images(step):
    return torch.randn(ROWS, 3, 32, 32, generator=torch.Generator().manual_seed(step)), torch.arange(ROWS) + step % 3


def commands(step):
    """Taught in every second step: two kinds of steps, which take turns."""
    (words, answers, _), actions = COMMANDS
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(step))
    return (words[order], answers[order], step % 2 == 0), actions[order]


TASKS = {
    "FNN": (lambda: FNN(42, [8, 8], 20), additions, arithmetic.loss),
    "LSTM": (lambda: RepeatLSTM(42, 6, 20), additions, arithmetic.loss),
    "CNN": (CNN, images, F.cross_entropy),
    "encoder-decoder": (lambda: EncoderDecoder(WORDS, TOKENS, scan.END, 4, 6), commands, scan.loss),
}


@pytest.fixture
def elsewhere(monkeypatch):
    """Networks run as on another device than the CPU: without compiled steps, and without a look at lengths."""
    monkeypatch.setattr(lstm_layer, "_compiled", lambda *_: None)
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)


def task(name, **options):
    """Its model under masks, batches and loss."""
    torch.manual_seed(0)
    make, batch, loss = TASKS[name]
    return MaskedModel(make(), 2, seed=1, fuse=False, **options), batch, loss


def regression(**options):
    torch.manual_seed(0)
    return MaskedModel(network(), 2, seed=1, fuse=False, **options), numbers, F.mse_loss


def run(masked, batch, loss, steps=STEPS, alpha=1e-3, **options):
    """The losses of all steps, and the logits after each."""
    losses, logits = [], []
    for value in mask_steps(masked, batch, loss, steps=steps, alpha=alpha, lr=0.1, **options):
        losses.append(value)
        logits.append(masked.logits.detach().clone())
    return torch.stack(losses), logits


def same(made, expected):
    (losses, logits), (their_losses, their_logits) = made, expected
    assert torch.equal(losses, their_losses) and len(losses.unique()) > 1
    assert all(torch.equal(one, other) for one, other in zip(logits, their_logits, strict=True))
    assert losses.isfinite().all() and not torch.equal(logits[-1], logits[-2])


@pytest.mark.parametrize("clipped", ["logits", "everything"])
@pytest.mark.parametrize("batched", [None, False], ids=["one pass", "slices"])
@pytest.mark.parametrize("name", TASKS)
def test_replayed_steps_are_plain_steps_to_the_bit(recorded, elsewhere, name, batched, clipped):
    options = {"clipped": clipped, "steps": 2 * STEPS if name == "encoder-decoder" else STEPS}
    plain = run(*task(name, batched=batched), graphs=False, **options)
    assert not recorded
    same(run(*task(name, batched=batched), **options), plain)
    [one] = recorded
    kinds = 2 if name == "encoder-decoder" else 1
    assert one.counts == (kinds * WARM_UP, kinds, options["steps"] - kinds * WARM_UP)


@pytest.mark.parametrize(
    ("model", "training"),
    [({}, {"passes": 3}), ({"unit": "row"}, {}), ({"precision": "bfloat16"}, {}), ({"sampler": "hard-concrete"}, {})],
    ids=str,
)
def test_with_passes_groups_precisions_and_samplers(recorded, model, training):
    plain = run(*regression(**model), graphs=False, **training)
    same(run(*regression(**model), **training), plain)
    assert recorded[0].counts == (WARM_UP, 1, STEPS - WARM_UP)


@pytest.mark.parametrize("clipped", ["logits", "everything"])
def test_when_dead_weights_leave_the_step_is_captured_anew(recorded, monkeypatch, clipped):
    monkeypatch.setattr(mask_adam, "EVERY", 6)
    how = {"steps": 14, "alpha": 0.1, "clipped": clipped}
    plain = run(partly_dead(network(), fuse=False), numbers, F.mse_loss, graphs=False, **how)
    assert [len(logits) for logits in plain[1]] == [150] * 5 + [LEFT] * 9
    same(run(partly_dead(network(), fuse=False), numbers, F.mse_loss, **how), plain)
    assert recorded[0].counts == (2 * WARM_UP, 2, 14 - 2 * WARM_UP)


def failing_at_the_end(monkeypatch):
    error = RuntimeError("CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors might be")
    monkeypatch.setitem(CAPTURING, "cpu", functools.partial(Recorded, failing=error))
    return F.mse_loss, "operation not permitted when stream is capturing"


def reading(monkeypatch):
    def loss(outputs, targets):
        value = F.mse_loss(outputs, targets)
        return value * (2.0 if value.item() > 1.0 else 1.0)

    return loss, "a tensor is made of the host's numbers, or read"


@pytest.mark.parametrize("clipped", ["logits", "everything"])
@pytest.mark.parametrize("fails", [failing_at_the_end, reading])
def test_where_a_capture_fails_steps_stay_plain_and_one_sentence_says_so(recorded, monkeypatch, fails, clipped):
    loss, reason = fails(monkeypatch)
    masked, batch, _ = regression()
    plain = run(masked, batch, loss, graphs=False, clipped=clipped)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        same(run(regression()[0], batch, loss, clipped=clipped), plain)
    [message] = [str(warning.message) for warning in said]
    assert message.startswith("A step of mask training could not be captured as a CUDA graph (")
    assert reason in message and message.endswith("graphs=False makes no attempt.")


def test_the_cpu_captures_nothing_and_neither_does_who_asks_for_none(recorded, monkeypatch):
    for training in (MaskTraining(steps=5, graphs=False), MaskTraining(steps=5)):
        masked, batch, loss = regression()
        assert len(list(training.of(masked, batch, loss, 1e-3))) == 5
    assert [one.captures for one in recorded] == [1]  # the second asks for them
    assert MaskTraining(graphs=False) == MaskTraining()  # masks are the same
    train_weights(network(), numbers, F.mse_loss, steps=5)
    monkeypatch.delitem(CAPTURING, "cpu")
    run(*regression())
    assert len(recorded) == 1


def test_masks_and_checkpoints_between_steps_are_those_of_the_moment(recorded, tmp_path):
    """Stopped after a replay, the training goes on with the same bits, with a graph of its own."""
    plain = run(*regression(), graphs=False)
    with pytest.raises(KeyboardInterrupt):
        run(*regression(), loop=Stopper(tmp_path, 6).loop("masks"))
    masked, batch, loss = regression()
    again, logits = run(masked, batch, loss, loop=Stopper(tmp_path, -1).loop("masks"))
    same((again, logits), (plain[0][6:], plain[1][6:]))
    assert masked.step == STEPS and torch.equal(masked.logits, plain[1][-1])
    assert [one.counts for one in recorded] == [(WARM_UP, 1, 6 - WARM_UP), (WARM_UP, 0, 0)]


def test_a_norm_that_is_not_finite_is_found_at_the_next_look(recorded, monkeypatch):
    monkeypatch.setattr(mask_adam, "LOOK_EVERY", 6)
    masked, batch, loss = regression()

    def spoilt(step):
        inputs, targets = batch(step)
        return inputs, targets * (torch.nan if step == 4 else 1.0)

    steps = mask_steps(masked, spoilt, loss, steps=20, alpha=1e-3)
    assert len([next(steps) for _ in range(5)]) == 5
    with pytest.raises(ValueError, match="not finite at step 6 of mask training"):
        next(steps)


def test_the_stand_in_finds_steps_that_count_on_their_own(recorded):
    """Python runs at the capture alone, as on a GPU: for such a loss, graphs are to be switched off."""

    def made(graphs):
        masked, batch, _ = regression()
        calls = []

        def loss(outputs, targets):
            calls.append(1)
            return F.mse_loss(outputs, targets) * len(calls)

        return run(masked, batch, loss, graphs=graphs)[0], len(calls)

    (plain, all_calls), (replayed, calls) = made(False), made(True)
    assert (all_calls, calls) == (STEPS, WARM_UP + 1)
    assert torch.equal(plain[: WARM_UP + 1], replayed[: WARM_UP + 1]) and not torch.equal(plain, replayed)


@pytest.mark.gpu
@pytest.mark.parametrize("clipped", ["logits", "everything"])
@pytest.mark.parametrize("name", TASKS)
def test_on_a_gpu_steps_are_captured_and_are_plain_steps(name, clipped):
    def made(graphs):
        masked, batch, loss = task(name)

        def there(step):
            return map_tensors(torch.Tensor.cuda, batch(step))

        return run(masked.cuda(), there, loss, steps=20, graphs=graphs, clipped=clipped)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (losses, logits), (plain_losses, plain) = made(True), made(False)
    torch.testing.assert_close(losses, plain_losses)
    torch.testing.assert_close(logits[-1], plain[-1])
