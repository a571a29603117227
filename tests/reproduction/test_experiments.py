"""Configs: what they refuse, their identity; and the add/mul experiment from weights to measurements."""

import dataclasses
import math

import pytest
import torch

from modules_lib import Masks, subnetwork
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.models.paper_networks import FNN, RepeatLSTM
from modules_lib.training.progress import Progress
from reproduction.experiments import EXPERIMENTS, preset, scale_of
from reproduction.experiments.addmul import AddMul
from reproduction.protocol.scales import SCALES, default_scale
from reproduction.protocol.stage import SAMPLED


@pytest.mark.parametrize("beta", [-1e-4, math.nan, math.inf, "1e-4", "much", True, [1e-4]])
def test_a_beta_that_is_no_number_of_at_least_zero_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta is .*; it must be a number of at least 0"):
        preset("addmul-fnn", "smoke", beta=beta)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 3}, "batch of 64 cannot be cut into 3 equal slices.*for example 63"),
        ({"samples": 0}, "samples is 0; it must be a whole number of at least 1"),
        ({"mask_steps": 2.5}, "mask_steps is 2.5"),
        ({"mask_lr": 0}, "mask_lr is 0; it must be a number above 0"),
        ({"network": "cnn"}, "Unknown network 'cnn'; it must be one of fnn, lstm"),
        ({"hidden": ()}, "hidden is .* at least one layer"),
        ({"hidden": 5}, "hidden is 5; .* at least one layer"),
        ({"start": math.nan}, "start is nan; it must be a number that is finite"),
        ({"repeats": 0}, "repeats is 0"),
        ({"colour": 1}, "addmul-fnn has no setting 'colour'; its settings are batch"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("addmul-fnn", "smoke", **changes)


def test_unknown_experiments_and_scales_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="Unknown experiment 'add'; it must be one of addmul-fnn, addmul-lstm"):
        preset("add")
    with pytest.raises(ValueError, match="Unknown scale 'big'; it must be one of smoke, laptop, paper"):
        preset("addmul-fnn", "big")
    monkeypatch.setenv("MODULES_SCALE", "huge")
    with pytest.raises(ValueError, match="Unknown scale 'huge'"):
        default_scale()


def test_the_scale_comes_from_the_environment_else_laptop(monkeypatch):
    monkeypatch.setenv("MODULES_SCALE", "smoke")
    assert default_scale() == "smoke"
    monkeypatch.delenv("MODULES_SCALE")
    assert default_scale() == "laptop"


def test_every_preset_is_its_scale_and_changes_of_results_change_identity():
    for name, entry in EXPERIMENTS.items():
        assert set(entry.presets) == set(SCALES)
        for scale, config in entry.presets.items():
            assert scale_of(config) == scale and config.experiment == name
    base = preset("addmul-fnn")
    changed = [dataclasses.replace(base, beta=2e-4), dataclasses.replace(base, mask_steps=7), preset("addmul-lstm")]
    assert len({base.hash(), *(config.hash() for config in changed)}) == 4
    assert base.hash() == preset("addmul-fnn", beta=1e-4).hash()
    assert scale_of(changed[0]) == "custom"


def test_the_paper_scale_is_the_papers():
    fnn, lstm = preset("addmul-fnn", "paper"), preset("addmul-lstm", "paper")
    assert (fnn.weight_steps, fnn.mask_steps, fnn.batch, fnn.samples) == (20_000, 20_000, 128, 4)
    assert (fnn.weight_lr, fnn.mask_lr, fnn.beta, fnn.clip) == (1e-3, 1e-2, 1e-4, 1.0)
    masked = sum(p.numel() for name, p in fnn.model().named_parameters() if "bias" not in name)
    assert masked == 42 * 2000 + 3 * 2000 * 2000 + 2000 * 20
    assert lstm.hidden == (256, 256) and lstm.repeats == 3


def test_networks_have_the_papers_shape():
    assert FNN(42, [8, 6], 20)(torch.zeros(3, 42)).shape == (3, 20)
    lstm = RepeatLSTM(42, 8, 20)
    assert lstm(torch.zeros(3, 42)).shape == (3, 20)
    forget = lstm.lstm.bias_ih_l1.view(4, 8)[1]
    assert torch.all(forget == 1) and lstm.lstm.bias_ih_l1.sum() == 8 and not lstm.lstm.bias_hh_l1.any()
    x = torch.randn(1, 42)
    states, _ = lstm.lstm(torch.stack([x, x, x]))
    torch.testing.assert_close(lstm(x), lstm.output(states[2]))


@pytest.mark.parametrize("where", [None, lambda name: True], ids=["weights", "biases too"])
@pytest.mark.parametrize("shape", [(12, 10), (12, 2, 10)], ids=["at once", "presentations"])
def test_an_lstm_runs_all_mask_samples_at_once(shape, where):
    model, x, found = RepeatLSTM(10, 8, 6), torch.randn(shape), []
    for batched in (None, False):
        masked = MaskedModel(model, 4, batched=batched, where=where)
        scores = masked(x)
        scores.square().sum().backward()
        found.append((scores, masked.logits.grad))
        assert masked.batched is (batched is None)
    torch.testing.assert_close(*found)


@pytest.fixture(scope="module", params=["fnn", "lstm"])
def trained(request):
    config = AddMul(network=request.param, hidden=(24, 24), batch=32, weight_steps=20, mask_steps=15)
    steps = []
    model, curve = config.train(0, Progress(lambda loop, made: steps.append(loop)))
    masks = {}
    for stage in config.stages:
        masks[stage], more = config.find_masks(model, 0, stage, Progress(lambda loop, made: steps.append(loop)))
        curve += more
    assert len(steps) == config.work()
    return config, model, masks, curve


def test_training_is_deterministic(trained):
    config, model, masks, _ = trained
    again, _ = config.train(0, Progress())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert config.find_masks(again, 0, "add", Progress())[0] == masks["add"]
    other, _ = config.train(1, Progress())
    assert not torch.equal(next(model.parameters()), next(other.parameters()))


def test_measurements_are_complete_and_consistent(trained):
    config, model, masks, curve = trained
    rows = config.measure(model, masks)
    layers = list(config.layers().values())
    assert layers[0] == "input" and layers[-1] == "output"
    assert set(config.layers()) == set(masks["full"]) and len(set(layers)) == len(layers)
    for row in rows:
        if row.get("task"):
            assert 0 <= row["value"] <= 1
    for stage in ("unmasked", "full", "add", "mul"):
        kept = {row["layer"]: row["value"] for row in rows if row["stage"] == stage and row["metric"] == "kept"}
        assert list(kept) == [*layers, "total"] and sum(kept[layer] for layer in layers) == kept["total"]
    stages = {(row["stage"], row["task"]) for row in rows if row["metric"] == "correct"}
    networks = ("unmasked", "full", "add", "mul", "not add", "not mul")
    assert stages == {(stage, task) for stage in networks for task in ("add", "mul")}
    assert {row["stage"] for row in curve} == {"weights", "full", SAMPLED, "add", "mul"}


def test_an_empty_mask_has_sharing_not_available(trained):
    config, model, masks, _ = trained
    empty = Masks({name: torch.zeros_like(mask) for name, mask in masks["add"].items()})
    rows = config.measure(model, masks | {"add": empty})
    values = [row["value"] for row in rows if row["metric"] == "sharing" and row["stage"] == "add"]
    assert values and all(math.isnan(value) for value in values)


def test_an_unknown_stage_is_refused(trained):
    config, model, *_ = trained
    with pytest.raises(ValueError, match="Unknown stage 'sub'; it must be one of full, add, mul"):
        config.find_masks(model, 0, "sub", Progress())


@pytest.mark.parametrize("name", ["addmul-fnn", "double-fnn"])
def test_sampled_masks_of_certain_probabilities_do_what_thresholded_ones_do(name):
    """After a step of 200 every logit is far from zero, so nothing is left to chance."""
    config = preset(name, "smoke", mask_steps=1, mask_lr=200.0)
    model = config.model()
    masks, rows = config.find_masks(model, 0, "full", Progress())
    sampled = {(row["task"], row["metric"]): row["value"] for row in rows if row["stage"] == SAMPLED}
    thresholded = {(row["task"], row["metric"]): row["value"] for row in config.asked(subnetwork(model, masks))}
    assert sampled.keys() == thresholded.keys() and len(sampled) >= 2
    assert sampled == pytest.approx(thresholded, abs=1e-4)
    _, others = config.find_masks(model, 0, config.stages[1], Progress())
    assert all(row["stage"] != SAMPLED for row in others)
