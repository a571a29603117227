"""The encoder-decoder: running sequences, and mask samples, together changes nothing but the time."""

import pytest
import torch

from modules_lib import MaskedModel
from modules_lib.datasets import scan
from modules_lib.datasets.scan import ACTIONS, END, WORDS, Scan
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.packing import Packing

COMMANDS = ["jump", "turn opposite left", "walk around right twice and run", "look thrice after jump left", "run twice"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return EncoderDecoder(len(WORDS), len(ACTIONS) + 1, END, embedding=6, state=10).eval()


@pytest.fixture(scope="module")
def data():
    return Scan.of(COMMANDS * 7)


def alone(model, words, answer, teach=True):
    """The scores of one answer's tokens, one step at a time."""
    read = torch.cat([words[words >= 0], torch.tensor([len(WORDS)])])  # and an end
    embedded = model.words(read).unsqueeze(1)
    _, state = model.encoder(embedded)
    token, scores = torch.tensor([END]), []
    for right in answer[answer >= 0]:
        output, state = model.decoder(model.tokens(token).unsqueeze(0), state)
        scores.append(model.output(output[0, 0]))
        token = right.view(1) if teach else scores[-1].argmax().view(1)
    return torch.stack(scores)


@pytest.mark.parametrize("teach", [True, False])
def test_a_batch_gives_what_each_sequence_gives_alone(model, data, teach):
    scores = model(data.commands, data.actions, teach)
    each = [alone(model, *pair, teach) for pair in zip(data.commands, data.actions, strict=True)]
    assert scores.shape == (*data.actions.shape, len(ACTIONS) + 1) and not scores[data.actions < 0].any()
    torch.testing.assert_close(scores[data.actions >= 0], torch.cat(each))


def test_teaching_and_not_teaching_differ(model, data):
    assert not torch.allclose(model(data.commands, data.actions, True), model(data.commands, data.actions, False))


def test_gradients_are_those_of_each_sequence_alone(model, data):
    def gradient(scores):
        model.zero_grad()
        scores.square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    together = gradient(model(data.commands, data.actions, False))
    each = [alone(model, *pair, False) for pair in zip(data.commands, data.actions, strict=True)]
    for ours, theirs in zip(together, gradient(torch.cat(each)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_writing_is_greedy_and_stops_at_the_end(data):
    torch.manual_seed(33)
    model = EncoderDecoder(len(WORDS), len(ACTIONS) + 1, END, embedding=6, state=10).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # far enough from zero that answers differ, and end after different numbers of steps
    written = model.write(data.commands, most=8)
    lengths = set()
    for words, answer in zip(data.commands, written, strict=True):
        tokens = answer[answer >= 0]
        scores = alone(model, words, torch.zeros(len(tokens), dtype=torch.long), teach=False)
        assert torch.equal(tokens, scores.argmax(-1))
        assert END not in tokens[:-1].tolist() and (len(tokens) == 8 or tokens[-1] == END)
        lengths.add(len(tokens))
    assert len(lengths) > 1 and min(lengths) < 8


def test_masks_see_their_own_slices(model, data):
    """With logits so high that nothing is removed, the masked model is the model, slice by slice."""
    masked = MaskedModel(model, samples=5, start=50.0)
    assert not any("words" in name or "tokens" in name for name in masked.shapes)
    scores = masked(data.commands, data.actions, False)
    torch.testing.assert_close(scores, model(data.commands, data.actions, False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", [None, lambda name: True], ids=["weights", "embeddings and biases too"])
@pytest.mark.parametrize("teach", [True, False])
def test_all_mask_samples_at_once_give_what_they_give_one_by_one(model, data, teach, where):
    """With the masks of the same step: answers, and gradients of the logits."""
    gradients = []
    at_once, by_slices = (MaskedModel(model, 5, where, start=0.5, batched=b) for b in (None, False))
    for masked in (at_once, by_slices):
        scores = masked(data.commands, data.actions, teach)
        scores.square().sum().backward()
        gradients.append((scores, masked.logits.grad))
    assert at_once.batched
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("teach", [True, False])
@pytest.mark.parametrize("samples", [1, 5])
def test_in_bfloat16_all_samples_run_at_once_too(model, data, teach, samples):
    masked = MaskedModel(model, samples, precision="bfloat16", start=50.0)
    scores = masked(data.commands, data.actions, teach)
    scores.sum().backward()
    assert masked.batched and scores.dtype == torch.float32 and masked.logits.grad.isfinite().all()
    if teach:  # else a word that is chosen otherwise changes all after it
        torch.testing.assert_close(scores, model(data.commands, data.actions), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("teach", [True, False])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_where_lengths_are_not_read_nothing_else_is_different(model, data, teach, masked, monkeypatch):
    """As on a GPU: all sequences stay to the last step, and the loss passes over places behind the end."""
    network = MaskedModel(model, 5, start=0.5) if masked else model
    trained = [network.logits] if masked else [p for p in model.parameters() if p.requires_grad]
    network(data.commands, data.actions, teach)

    def results():
        if masked:
            network.step = 3  # the same masks
        scores = network(data.commands, data.actions, teach)
        loss = scan.loss(scores, data.actions)
        return scores.detach(), loss.detach(), *torch.autograd.grad(loss, trained, allow_unused=True)

    assert len(set(Packing(data.actions >= 0, 5).counts)) > 1
    expected = results()
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    assert Packing(data.actions >= 0, 5).counts == [7] * data.actions.shape[1]
    torch.testing.assert_close(results(), expected)


def test_answers_of_the_end_alone(model, data):
    nothing = torch.full_like(data.actions, -1)
    nothing[:, 0] = END
    each = [alone(model, *pair) for pair in zip(data.commands, nothing, strict=True)]
    torch.testing.assert_close(model(data.commands, nothing)[:, 0], torch.cat(each))


@pytest.mark.parametrize("teach", [True, False])
def test_in_training_every_pass_has_its_own_dropout_and_a_gradient(data, teach):
    torch.manual_seed(0)
    model = EncoderDecoder(len(WORDS), len(ACTIONS) + 1, END, embedding=6, state=10, dropout=0.5)
    scores = [model(data.commands, data.actions, teach) for _ in range(2)]
    assert not torch.equal(*scores)
    scores[0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_dropout_is_off_while_evaluating(model, data):
    model.train()
    assert not torch.equal(*(model(data.commands, data.actions) for _ in range(2)))
    model.eval()
    assert torch.equal(*(model(data.commands, data.actions) for _ in range(2)))
