"""The choices that the paper leaves open are those of its released code; each test fails under the earlier choice."""

import math
from dataclasses import replace

import pytest
import torch

from modules_lib import MaskTraining, train_weights
from modules_lib.datasets import scan
from modules_lib.datasets.scan import WORDS, Scan
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import FNN, RepeatLSTM
from modules_lib.training.progress import Progress
from reproduction.experiments import EXPERIMENTS, preset, published_preset, read_config
from reproduction.experiments.scan import TOKENS
from reproduction.runs.published import results_folder
from reproduction.runs.store import stored

OF_ONE_STAGE = [name for name in EXPERIMENTS if not name.startswith("permuted")]
ARITHMETIC = [name for name in EXPERIMENTS if name.split("-")[0] in ("addmul", "double", "capacity", "sweep")]


@pytest.mark.parametrize("name", [*ARITHMETIC, "scan"])
def test_the_paper_scale_takes_the_released_choices_and_published_runs_name_theirs(name):
    config = preset(name, "paper")
    assert config.first_weights == "released" and config.clipped == "everything"
    earlier = replace(config, **config.before())
    assert earlier.hash() != config.hash()
    assert preset(name, "laptop").first_weights != "released"  # until these are chosen anew


@pytest.mark.parametrize("name", OF_ONE_STAGE)
def test_masks_are_trained_with_the_clipping_that_the_config_names(name, monkeypatch):
    """Which of the two is right is tested beside the clipping itself."""
    config = preset(name, "smoke", clipped="everything", mask_steps=1, weight_steps=1)
    model = config.model()
    seen = []
    monkeypatch.setattr(MaskTraining, "of", lambda self, *_: seen.append(self.clipped) or iter(()))
    config.find_masks(model, 0, config.stages[0], Progress())
    assert seen == ["everything"]


def test_published_runs_without_the_settings_keep_their_identity():
    runs = [run for run in stored(results_folder()) if "first_weights" not in run.config()]
    assert len(runs) > 50
    assert all(read_config(run.config()).hash() == run.folder.parent.name for run in runs)
    assert published_preset("addmul-fnn", "paper").hash() == "9c0fbf3236"


def of_fnn(kind):
    torch.manual_seed(0)
    return FNN(42, [800, 800], 20, kind).layers


def test_an_fnn_begins_with_pytorchs_weights():
    """Uniform up to 1 / sqrt(inputs), which is a deviation of 1 / sqrt(3 inputs); ten standard errors."""
    for layer in of_fnn("released"):
        bound = 1 / math.sqrt(layer.in_features)
        weight = layer.weight.detach()
        error = 0.45 / math.sqrt(weight.numel())  # of the deviation, relative to it, for uniform numbers
        assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=10 * error)
        assert 0.95 * bound < float(weight.max()) <= bound and float(layer.bias.abs().max()) > 0
    for layer in of_fnn("xavier"):
        assert float(layer.weight.max()) > 1.2 / math.sqrt(layer.in_features) and not layer.bias.any()


def test_an_lstm_begins_with_the_released_weights():
    torch.manual_seed(0)
    lstm = RepeatLSTM(42, 256, 20).lstm
    for layer, inputs in enumerate((42, 256)):
        ways_in, ways_on = (getattr(lstm, f"weight_{kind}_l{layer}").chunk(4) for kind in ("ih", "hh"))
        for gate in range(4):
            wide = 5 / 3 if gate == 2 else 1
            assert float(ways_in[gate].std()) == pytest.approx(wide / math.sqrt(inputs + 256), rel=0.07)
            assert float(ways_on[gate].std()) == pytest.approx(wide / math.sqrt(2 * 256), rel=0.02)
        gain = (ways_on[2] @ ways_on[2].T) / (25 / 18)
        torch.testing.assert_close(gain, torch.eye(256), atol=1e-4, rtol=0)
        assert not torch.allclose(ways_on[0] @ ways_on[0].T, torch.eye(256) / 2, atol=0.05)
        first, second = (getattr(lstm, f"bias_{kind}_l{layer}") for kind in ("ih", "hh"))
        assert not second.any() and torch.equal(first.chunk(4)[1], torch.ones(256)) and first.sum() == 256


def test_an_lstm_trains_one_bias_vector():
    x, y = torch.randn(8, 42), torch.randint(10, (8,))
    for kind, trained in (("released", False), ("xavier", True)):
        torch.manual_seed(0)
        model = RepeatLSTM(42, 16, 10, first_weights=kind)
        before = model.lstm.bias_hh_l0.detach().clone()
        train_weights(model, lambda step: (x, y), torch.nn.functional.cross_entropy, steps=2)
        assert torch.equal(model.lstm.bias_hh_l0, before) != trained


def network(**choices):
    torch.manual_seed(0)
    return EncoderDecoder(len(WORDS), len(TOKENS), scan.END, state=20, **choices)


COMMANDS = Scan.of(["jump twice", "walk and turn left"])


def scores(model, seed=0):
    torch.manual_seed(seed)
    return model(COMMANDS.commands, COMMANDS.actions, True)


@pytest.mark.parametrize("dropped", ["embeddings", "output"])
def test_dropout_acts_on_embeddings_and_between_layers_but_not_before_the_output(dropped):
    """With all units of the last layer alike, dropout before the output shows in the scores of a token."""
    model = network(dropped=dropped, dropout=0.5).train()
    seen = []
    model.dropout.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[-1]))
    scores(model)
    embedding, state = model.words.embedding_dim, model.encoder.hidden_size
    # the encoder's embeddings, between its layers, the decoder's, between its layers; or between layers and the output
    assert seen == ([embedding, state, embedding, state] if dropped == "embeddings" else [state, state, state])


def test_the_encoder_reads_an_end_after_the_command():
    with_end, without = network(), network(read_end=False)
    assert with_end.words.num_embeddings == len(WORDS) + 1 and without.words.num_embeddings == len(WORDS)
    before = scores(with_end.eval()).detach()
    with torch.no_grad():
        with_end.words.weight[len(WORDS)] += 1
    assert not torch.allclose(scores(with_end), before)
    alone = scores(with_end)[:1]
    only = with_end(COMMANDS.commands[:1], COMMANDS.actions[:1], True)
    torch.testing.assert_close(alone, only)  # whatever is beside it, and however long


def test_unknown_choices_are_refused():
    for name, choices, message in [
        (
            "addmul-fnn",
            {"first_weights": "zero"},
            "Unknown kind of first weights 'zero'; it must be one of rel",
        ),
        ("scan", {"dropped": "input"}, "Unknown place of dropout 'input'; it must be one of embeddings, output"),
    ]:
        with pytest.raises(ValueError, match=message):
            preset(name, "smoke", **choices)
