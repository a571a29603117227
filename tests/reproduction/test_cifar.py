"""The CIFAR-10 experiment on made-up images, its claims, figures, gallery and control."""

import numpy as np
import pandas as pd
import pytest
import torch

from modules_lib.datasets.images import CLASSES, Images
from modules_lib.masking.masks import Masks
from modules_lib.models.paper_networks import CNN
from modules_lib.training.progress import Progress
from reproduction.claims import CLAIMS, judge
from reproduction.claims.cifar import few_weights_many_errors
from reproduction.experiments import cifar, preset, published_preset
from reproduction.experiments.cifar import LeaveOneOut, confusion, predictions
from reproduction.figures import cifar as figures
from reproduction.notebook.class_removal import Gallery, RemoveControl, without
from reproduction.runs.measures import (
    between_references,
    confusions,
    removed_classes,
    still_recognised,
    true_positive_drops,
)
from reproduction.runs.pool import Job
from reproduction.runs.published import published

CONFIG = LeaveOneOut(batch=16, weight_steps=25, mask_steps=6, weight_lr=1e-2, removed=("airplane", "cat"), mask_lr=1.0)


def table_1(model, x):
    """The network as Table 1 has it: ReLU comes first, then dropout, then pooling."""
    for convolution, dropout in zip(model.convolutions, model.dropouts, strict=True):
        x = dropout(torch.relu(convolution(x)))
        if convolution is not model.convolutions[-1]:
            x = torch.max_pool2d(x, 2)
    return model.classifier(x.mean((2, 3)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_relu_may_come_last_bit_for_bit(training, kind):
    torch.manual_seed(0)
    model, x, found = CNN(10).train(training).to(kind), torch.randn(8, 3, 32, 32, dtype=kind), []
    for forward in (model, lambda x: table_1(model, x)):
        torch.manual_seed(1)
        scores = forward(x)
        found.append([scores, *torch.autograd.grad(scores.float().square().sum(), list(model.parameters()))])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def coloured(part="train", device="cpu"):
    """Images of one colour a class, and some noise."""
    generator = torch.Generator().manual_seed(len(part))
    labels = torch.arange(120) % 10
    colours = torch.randint(0, 200, (10, 3), generator=torch.Generator().manual_seed(1))
    noise = torch.randint(0, 50, (120, 3, 32, 32), generator=generator)
    pixels = (colours[labels][:, :, None, None] + noise).to(torch.uint8)
    return Images(pixels, labels, torch.full((3,), 0.4), torch.full((3,), 0.2))


@pytest.fixture(scope="module")
def made():
    """A trained network, its masks, and what was measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "cifar10", coloured)
        model, _ = CONFIG.train(0, Progress())
        masks = {}
        for stage in CONFIG.stages:
            masks[stage], _ = CONFIG.find_masks(model, 0, stage, Progress(), masks)
        return model, masks, CONFIG.measure(model, masks)


def test_the_classifiers_mask_is_learned_in_the_reference_stage_and_frozen_in_the_others(made):
    model, masks, _ = made
    assert set(masks) == {"full", "again", "airplane", "cat"}
    assert set(masks["full"]) == set(dict(model.named_parameters()))  # biases too
    for stage in ("again", "airplane", "cat"):
        for name in ("classifier.weight", "classifier.bias"):
            assert torch.equal(masks[stage][name], masks["full"][name])
        assert any(not torch.equal(masks[stage][name], masks["full"][name]) for name in masks["full"])
    assert 0 < masks["full"].kept("classifier.weight") < 1


def test_a_stage_never_sees_the_class_that_it_leaves_out(monkeypatch):
    seen = {}

    class Spy(Images):
        def batch(self, size, *stream):
            inputs, labels = super().batch(size, *stream)
            seen.setdefault(stream[1], set()).update(labels.tolist())
            return inputs, labels

        def without(self, *labels):
            return Spy(**vars(super().without(*labels)))

    monkeypatch.setattr(cifar, "cifar10", lambda *_: Spy(**vars(coloured())))
    model, masks = CONFIG.model(), {}
    for stage in CONFIG.stages:
        masks[stage], _ = CONFIG.find_masks(model, 0, stage, Progress(), masks)
    everything = set(range(10))
    assert seen == {"full": everything, "again": everything, "airplane": everything - {0}, "cat": everything - {3}}


def test_all_stages_wait_for_the_reference_and_then_for_nothing():
    job = Job(CONFIG, 0)
    assert job.ready() == ["weights"]
    job.made.add("weights")
    assert job.ready() == ["full"]
    job.running.add("full")
    assert job.ready() == []
    job.running.clear()
    job.made.add("full")
    assert job.ready() == ["again", "airplane", "cat"]
    job.made.update(("again", "airplane", "cat"))
    assert job.ready() == ["all"]


def test_each_beta_has_a_reference_of_its_own():
    config = LeaveOneOut(removed=("cat",), factors=(1.0, 3.0))
    assert config.stages == ("full", "again", "cat", "full@3", "again@3", "cat@3")
    assert config.needs("cat@3") == ("full@3",) and config.needs("full@3") == ()
    with pytest.raises(ValueError, match="Unknown stage 'dog'; it must be one of full, again, cat, full@3"):
        config.find_masks(config.model(), 0, "dog", Progress())


def test_confusions_are_those_of_the_predictions(made):
    model, masks, rows = made
    frame = pd.DataFrame([{"seed": 0, **row} for row in rows])
    data = coloured("test")
    taken = predictions(model, data, batch=7)
    expected = np.zeros((10, 10))
    for label, other in zip(data.labels.tolist(), taken.tolist(), strict=True):
        expected[label, other] += 1 / 12
    np.testing.assert_allclose(confusion(data.labels, taken), expected, atol=1e-9)
    np.testing.assert_allclose(confusions(frame, "unmasked")[0], expected, atol=1e-6)
    right = frame[(frame["stage"] == "unmasked") & (frame["metric"] == "correct")]["value"].item()
    assert right == pytest.approx(np.trace(expected) / 10)
    gone = frame[(frame["stage"] == "cat") & (frame["metric"] == "removed")].set_index("layer")["value"]
    assert gone["total"] == (masks["full"] & ~masks["cat"]).count() and gone["classifier"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"removed": ("plane",)}, "Unknown class 'plane'.*airplane, automobile, bird, cat"),
        ({"removed": ()}, r"removed is \(\); it must list at least one value, each once"),
        ({"removed": ("cat", "cat")}, "it must list at least one value, each once"),
        ({"factors": (0.0,)}, "a factor is 0.0; it must be a number above 0"),
        ({"factors": (3.0, 3.001)}, "they must differ in their first three digits"),
        ({"weight_precision": "half"}, "Unknown weight_precision 'half'; it must be one of float32"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("cifar10", "smoke", **changes)


def test_the_paper_scale_is_appendix_g_and_published_runs_have_all_classes():
    config = preset("cifar10", "paper")
    assert (config.batch, config.weight_steps, config.mask_steps) == (128, 20_000, 20_000)
    assert (config.weight_lr, config.mask_lr, config.beta, config.removed) == (1e-3, 1e-3, 1e-4, CLASSES)
    assert published_preset("cifar10").removed == CLASSES and published_preset("cifar10").factors == (1.0, 3.0)


def results(drop=0.5, others=0.0, removed=50, to=("bird", "ship"), tied=0.8, seeds=3, better=0.0):
    """Made-up results: what each class loses, what the others lose or cats and dogs win, and where the lost ones go."""
    rows = []
    for seed in range(seeds):
        for stage in ("unmasked", "full", "again", *CLASSES):
            parts = 0.9 * np.eye(10) + 0.1 / 9 * (1 - np.eye(10))
            if stage in CLASSES:
                i = CLASSES.index(stage)
                parts -= others * (np.eye(10) - np.eye(10)[[(j + 5) % 10 for j in range(10)]])
                parts[i, i] -= drop - others + 0.001 * seed
                partner = {"cat": "dog", "dog": "cat", "truck": "automobile", "automobile": "truck"}.get(stage)
                targets = {partner: tied, "horse": 1 - tied} if partner else {to[0]: 0.5, to[1]: 0.5}
                if stage in targets:  # its images are not taken for what they are
                    targets = {"horse": 1.0}
                if stage in ("cat", "dog"):
                    parts[CLASSES.index(partner), CLASSES.index(partner)] += better
                for name, part in targets.items():
                    parts[i, CLASSES.index(name)] += (drop + 0.001 * seed) * part
            if stage in (*CLASSES, "again"):
                part = removed if stage in CLASSES else 20
                rows.append({"seed": seed, "stage": stage, "metric": "removed", "layer": "total", "value": part})
            rows.append({"seed": seed, "stage": stage, "metric": "kept", "layer": "total", "value": 1000 + seed})
            common = {"seed": seed, "stage": stage, "metric": "confusion"}
            rows += [
                {**common, "task": name, "predicted": CLASSES[j], "value": parts[i, j]}
                for i, name in enumerate(CLASSES)
                for j in range(10)
            ]
    return pd.DataFrame(rows, columns=["seed", "stage", "layer", "task", "metric", "predicted", "value"])


@pytest.mark.parametrize(
    ("claim", "changes", "expected"),
    [
        (10, {}, "reproduced"),
        (10, {"removed": 400}, "partly"),
        (10, {"drop": 0.05}, "partly"),
        (10, {"drop": 0.7}, "partly"),
        (19, {"better": 0.05}, "reproduced"),
        (19, {"better": -0.05}, "not reproduced"),
        (11, {"drop": -0.01}, "partly"),
        (10, {"others": 0.2}, "partly"),
        (11, {}, "reproduced"),
        (11, {"to": ("frog", "deer")}, "partly"),
        (11, {"tied": 0.3}, "partly"),
    ],
)
def test_verdicts_follow_from_the_confusions(claim, changes, expected):
    found = judge(next(c for c in CLAIMS if c.id == claim), {"cifar10": results(**changes)}, "laptop")
    assert found.verdict == expected and found.seeds == 3


def test_drops_are_against_the_reference():
    frame = results(drop=0.4)
    drops = true_positive_drops(frame)
    assert drops.shape == (3, 10, 10) and drops[0, 3, 3] == pytest.approx(0.4) and drops[0, 3, 4] == pytest.approx(0)
    assert removed_classes(frame) == list(CLASSES) and removed_classes(frame, 3.0) == []
    assert [s.holds for s in few_weights_many_errors({"cifar10": results()})] == [True] * 5


def test_figures_draw_what_was_measured(made):
    run = {
        "cifar10": pd.DataFrame(
            [{"seed": 0, "layer": None, "task": None, "bin": None, "predicted": None, **row} for row in made[2]]
        )
    }
    published = {"cifar10": results()}
    for draw in (figures.reference, figures.change, figures.changes, figures.taken_for, figures.drops, figures.removed):
        for sides in ((published, run), (published, {}), ({}, run)):
            assert draw(*sides).data
    assert not figures.taken_for(published, {}).layout.sliders  # nothing to choose
    by_class = figures.removed(published, {}).data[0]
    assert tuple(by_class.x) == (*CLASSES, "again") and by_class.y[-1] == pytest.approx(2, rel=0.01)
    figure = figures.change(published, run)
    labels = [button.label for button in figure.layout.updatemenus[0].buttons]
    assert labels[:10] == [f"without {name}" for name in CLASSES] and labels[10:] == [
        "without airplane (this run)",
        "without cat (this run)",
    ]
    cat = figure.layout.updatemenus[0].buttons[3].args[0]
    mean = 100 * (confusions(published["cifar10"], "cat") - confusions(published["cifar10"], "full")).mean(0)
    np.testing.assert_allclose(cat["z"][0], mean, atol=0.01)
    assert "90.0 % before, 39.9 % after" in cat["customdata"][0][3][3]
    beside = figures.change_beside("cat", published, run)
    assert list(beside.layout.meta["panels"].values()) == ["without cat, published", "without cat, this run"]
    np.testing.assert_allclose(beside.data[0].z, mean, atol=0.01)


def test_a_slider_chooses_between_published_betas():
    figure = figures.taken_for({"cifar10": published(published_preset("cifar10"))}, {})
    first, last = figure.layout.sliders[0].steps
    assert (first.label, last.label) == ("1", "3")
    np.testing.assert_array_equal(first.args[0]["z"][0], figure.data[0].z)
    assert not np.array_equal(last.args[0]["z"][0], figure.data[0].z)


def test_what_is_left_of_a_class_and_what_noise_moves():
    frame = results(drop=0.5, seeds=2)
    assert still_recognised(frame).tolist() == pytest.approx([0.4, 0.399])
    assert between_references(frame).tolist() == [0, 0]
    moved = (frame["stage"] == "again") & (frame["task"] == "cat") & (frame["predicted"] == "cat")
    frame.loc[moved, "value"] -= 0.2
    assert between_references(frame).tolist() == pytest.approx([0.02, 0.02])


def test_the_gallery_shows_what_was_lost_and_nothing_else():
    data = coloured("test")
    before, after = data.labels.clone(), data.labels.clone()
    before[0] = 5  # an airplane that was not recognised before
    after[[0, 10, 20]], after[1] = 2, 9  # airplanes taken for birds, and a car
    gallery = Gallery(data, before, {"airplane": after, "cat": before}, most=1)
    assert gallery.lost("airplane") == [10, 20] and gallery.lost("cat") == []
    shown = gallery._repr_mimebundle_()
    assert "without airplane: 2 of 12 images are lost" in shown["text/plain"]
    assert shown["text/html"].count("<img") == 1 and 'alt="image 10, airplane, taken for bird"' in shown["text/html"]


def test_weights_of_several_classes_are_removed_at_once(made, monkeypatch, capsys):
    model, masks, _ = made
    sets = {name: Masks({"w": torch.tensor(kept, dtype=torch.bool)}) for name, kept in
            {"full": [1, 1, 1, 0], "cat": [0, 1, 1, 1], "dog": [1, 0, 1, 0]}.items()}  # fmt: skip
    assert without(sets, ["cat"])["w"].tolist() == [False, True, True, False]
    assert without(sets, ["cat", "dog"])["w"].tolist() == [False, False, True, False]
    shown = []
    monkeypatch.setattr("reproduction.notebook.class_removal.show", lambda figure, *_: shown.append(figure))
    control = RemoveControl(model, masks, coloured("test"))
    assert control.chosen.options == ("airplane", "cat")
    control.button.click()
    gone = masks["full"].count() - without(masks, ["airplane", "cat"]).count()
    assert len(shown) == 1 and f"{gone:,} of the reference's {masks['full'].count():,}" in capsys.readouterr().out
    control.chosen.value = ()
    control.button.click()
    assert "Choose at least one class" in capsys.readouterr().out and len(shown) == 1
