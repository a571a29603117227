"""Permuted MNIST: what a task uses never changes again; verdicts and figures follow from what was measured."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from modules_lib.datasets.images import Images
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import FNN
from modules_lib.training.loops import run_steps
from modules_lib.training.progress import Progress
from reproduction.claims import CLAIMS, judge
from reproduction.experiments import permuted
from reproduction.experiments.continual_learning import JointAdam, learn, nothing_used
from reproduction.experiments.permuted import PIXELS, Permuted, PermutedMNIST
from reproduction.figures import permuted as figures
from tests.library.host_traffic import no_host_traffic
from tests.reproduction.test_resume import Stopper

SETTINGS = {"steps": 30, "alpha": 1e-3, "fresh": 0.0, "seed": 0, "samples": 4, "lr": 3e-2, "mask_lr": 3e-2}
SETTINGS |= {"cooldown": 0.6}


def batch(step):
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(32, 6, generator=generator)
    return inputs, (inputs[:, 0] > 0).long()


def network():
    torch.manual_seed(0)
    return FNN(6, (9, 8), 2).eval()


def test_used_weights_stay_to_the_bit_and_free_ones_start_anew_and_learn():
    model = network()
    first = learn(model, nothing_used(model), batch, F.cross_entropy, stage="one", **SETTINGS)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    inputs = batch(99)[0]
    outputs = subnetwork(model, first)(inputs)
    second = learn(model, first, batch, F.cross_entropy, stage="two", **SETTINGS)
    assert 0 < first.count() < first.size() and set(first) == set(before)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter[first[name]], before[name][first[name]])
        if (~first[name]).any():
            assert not torch.equal(parameter[~first[name]], before[name][~first[name]])
    assert torch.equal(subnetwork(model, first)(inputs), outputs)
    assert second.count() > 0 and (subnetwork(model, second)(inputs).argmax(-1) == batch(99)[1]).float().mean() > 0.8


def test_a_step_is_left_to_the_device():
    """Weights and logits, and rates that fall: nothing is made of the host's numbers, copied or read."""
    masked = MaskedModel(network(), 4, lambda name: True)
    masked(batch(0)[0])
    masked.to("meta")
    inputs, labels = (tensor.to("meta") for tensor in batch(0))
    used = torch.zeros(len(masked.logits), dtype=torch.bool, device="meta")
    adam = JointAdam(masked, used, (3e-2, 1e-2), alpha=1e-3, clip=1.0, steps=10, cooldown=0.6)
    steps = run_steps(masked, adam, lambda step: (inputs, labels), F.cross_entropy, 10, None)
    next(steps)
    with no_host_traffic("meta"):
        assert len(list(steps)) == 9


def test_masks_of_new_weights_start_where_asked():
    model = network()
    few = learn(model, nothing_used(model), batch, F.cross_entropy, stage="x", **SETTINGS | {"steps": 1, "fresh": -1.0})
    all_ = learn(
        model, ~nothing_used(model), batch, F.cross_entropy, stage="x", **SETTINGS | {"steps": 1, "fresh": -1.0}
    )
    assert few.count() == 0 and all_.count() == all_.size()  # one step moves a logit by the rate


def two_tasks(monkeypatch, every, progress=None):
    """With a look at what has died after so many steps; how many weights remained of each task, masks, and weights."""
    torch.manual_seed(0)
    model, masks, left, made = FNN(6, (16, 12), 2).eval(), [], [], MaskedModel.masks
    used = nothing_used(model)
    with monkeypatch.context() as patch:
        patch.setattr("modules_lib.training.mask_adam.EVERY", every)
        patch.setattr(MaskedModel, "masks", lambda own: left.append(len(own.logits)) or made(own))
        for stage in ("one", "two"):
            dying = {"steps": 120, "mask_lr": 0.5, "alpha": 2e-4, "stage": stage}
            loop = progress and progress.loop(stage)
            masks.append(learn(model, used, batch, F.cross_entropy, **SETTINGS | dying, loop=loop))
            used = used | masks[-1]
    return left, masks, {name: p.detach() for name, p in model.named_parameters()}


def test_dead_weights_and_biases_leave_and_what_is_learned_is_the_same(monkeypatch):
    """Those of the first task that the second has no use for, too: they stay as they are."""
    everything, masks, weights = two_tasks(monkeypatch, 10**9)
    left, same, its_weights = two_tasks(monkeypatch, 10)
    assert everything == [342, 342] and max(left) < 0.8 * 342
    assert same == masks and 0 < masks[0].count() < 0.2 * 342 and (masks[0] & ~masks[1]).count() > 0
    for name, learned in weights.items():
        kept = masks[0][name] | masks[1][name]
        torch.testing.assert_close(its_weights[name][kept], learned[kept])


@pytest.mark.parametrize("made", [35, 150])
def test_a_task_that_is_stopped_when_some_have_left_ends_as_if_it_was_not(monkeypatch, tmp_path, made):
    whole = two_tasks(monkeypatch, 10)
    with pytest.raises(KeyboardInterrupt):
        two_tasks(monkeypatch, 10, Stopper(tmp_path, made))
    left, masks, weights = two_tasks(monkeypatch, 10, Stopper(tmp_path, -1))
    assert left == whole[0] and masks == whole[1]
    assert all(torch.equal(weights[name], whole[2][name]) for name in weights)


@pytest.mark.parametrize("made", [1, 7, 29])
def test_a_task_that_is_stopped_ends_as_if_it_was_not(tmp_path, made):
    def learned(progress):
        model = network()
        mask = learn(
            model, nothing_used(model), batch, F.cross_entropy, stage="one", **SETTINGS, loop=progress.loop("a")
        )
        return mask, list(model.parameters())

    mask, weights = learned(Progress())
    with pytest.raises(KeyboardInterrupt):
        learned(Stopper(tmp_path, made))
    again, same = learned(Stopper(tmp_path, -1))
    assert again == mask and all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


def drawn(part="train", device="cpu"):
    """Digits of which each lights a block of pixels of its own."""
    labels = torch.arange(200) % 10
    pixels = torch.randint(0, 60, (200, 1, 28, 28), generator=torch.Generator().manual_seed(len(part)))
    for i, label in enumerate(labels.tolist()):
        pixels[i, 0, 2 * label : 2 * label + 8] += 150
    return Images(pixels.to(torch.uint8), labels, torch.tensor([0.3]), torch.tensor([0.3]))


CONFIG = PermutedMNIST(tasks=3, weight_steps=60, weight_lr=5e-2, mask_lr=5e-2, hidden=(20, 20, 12), batch=32, beta=1e-2)


@pytest.fixture(scope="module")
def made():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(permuted, "mnist", drawn)
        model, rows = CONFIG.train(0, Progress())
    masks = {stage: CONFIG.find_masks(model, 0, stage, Progress())[0] for stage in CONFIG.stages}
    return model, masks, pd.DataFrame(rows + CONFIG.measure(model, masks))


def test_permutations_differ_and_follow_from_the_seed():
    orders = [Permuted.of(drawn(), seed, task).order for seed in (0, 1) for task in range(3)]
    assert all(sorted(order.tolist()) == list(range(PIXELS)) for order in orders)
    assert torch.equal(orders[0], orders[3]) and torch.equal(orders[0], torch.arange(PIXELS))
    assert len({tuple(order.tolist()) for order in orders}) == 5
    data = Permuted.of(drawn(), 0, 1)
    inputs, labels = data.batch(8, 0, "x")
    plain, same = drawn().batch(8, 0, "x")
    assert torch.equal(labels, same) and torch.equal(inputs, plain.flatten(1)[:, data.order])


def test_earlier_tasks_give_the_same_bits_after_every_later_one(made):
    model, masks, rows = made
    digests = rows[rows["metric"] == "digest"].groupby("task")["value"]
    assert digests.nunique().tolist() == [1, 1, 1] and digests.size().tolist() == [3, 2, 1]
    assert len(set(digests.first())) == 3
    test = Permuted.of(drawn("test"), 0, 0)
    right = (test.outputs(subnetwork(model, masks["task-1"])).argmax(-1) == test.data.labels).double().mean()
    measured = rows[(rows["metric"] == "correct") & (rows["task"] == "task-1")]["value"]
    assert set(measured) == {float(right)} and right > 0.5


def test_sharing_is_with_all_tasks_before_and_layers_fill(made):
    _, masks, rows = made
    one, two, three = (masks[stage] for stage in CONFIG.stages)
    shared = rows[rows["metric"] == "sharing"].set_index(["stage", "layer"])["value"]
    assert shared["task-1", "total"] == 0
    name = "layers.1.weight"
    assert shared["task-3", "hidden 1"] == pytest.approx(
        (three & (one | two)).count(name) / three.count(name), abs=1e-6
    )
    full = rows[rows["metric"] == "full"].set_index(["stage", "layer"])["value"]
    assert full["task-3", "total"] == pytest.approx((one | two | three).kept(), abs=1e-6)


def test_a_network_without_a_free_weight_is_measured_and_does_not_crash():
    config = PermutedMNIST(tasks=3, weight_steps=3, hidden=(6,), batch=16)  # nothing is removed in three steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(permuted, "mnist", drawn)
        _, rows = config.train(0, Progress())
    rows = pd.DataFrame(rows).set_index(["metric", "stage", "layer"])["value"]
    assert rows["full", "task-1", "total"] == 1 and rows["sharing", "task-3", "total"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 0}, r"tasks \(permutations\) is 0; it must be a whole number of at least 1"),
        ({"samples": 7}, "A batch of 128 cannot be cut into 7 equal slices"),
        ({"hidden": ()}, "hidden is .* at least one layer"),
        ({"variant": "most"}, "Unknown variant 'most'; it must be one of equal, half, quarter"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(PermutedMNIST.presets("equal")["laptop"], **changes)


def test_the_paper_scale_is_appendix_e():
    config = PermutedMNIST.presets("equal")["paper"]
    assert (config.tasks, config.weight_steps, config.weight_lr, config.samples) == (10, 30_000, 1e-2, 8)
    assert config.mask_lr == 1e-2
    assert config.alpha == pytest.approx(1e-5) and config.hidden == (800, 800, 64)
    assert PermutedMNIST.presets("equal")["laptop"].hidden == config.hidden
    assert config.work() == 300_000 and sum(p.numel() for p in config.model().parameters()) == 1_320_714


LAYERS = ("input", "hidden 1", "hidden 2", "output", "total")


def results(share, output_full=0.9, seeds=3, tasks=5):
    """Made-up results of one variant: what each layer shares with the tasks before."""
    rows = []
    for seed in range(seeds):
        for i in range(1, tasks + 1):
            for layer, value in zip(LAYERS, share, strict=True):
                full = output_full if layer == "output" else 0.1 * i
                value = 0.0 if i == 1 else value + 0.001 * seed
                rows.append({"seed": seed, "stage": f"task-{i}", "layer": layer, "metric": "sharing", "value": value})
                rows.append({"seed": seed, "stage": f"task-{i}", "layer": layer, "metric": "full", "value": full})
            for j in range(1, i + 1):
                common = {"seed": seed, "stage": f"task-{i}", "task": f"task-{j}"}
                rows += [{**common, "metric": "correct", "value": 0.95}, {**common, "metric": "digest", "value": 7}]
    return pd.DataFrame(rows, columns=["seed", "stage", "layer", "task", "metric", "value"])


PAPERS = {
    "equal": (0.02, 0.05, 0.05, 0.5, 0.1),
    "half": (0.1, 0.3, 0.3, 0.6, 0.3),
    "quarter": (0.2, 0.5, 0.5, 0.7, 0.5),
}


@pytest.mark.parametrize(
    ("claim", "changes", "expected"),
    [
        (15, {}, "reproduced"),
        (15, {"equal": (0.02, 0.4, 0.4, 0.5, 0.1)}, "partly"),
        (17, {}, "reproduced"),
        (17, {"quarter": (0.01, 0.5, 0.5, 0.7, 0.5)}, "partly"),
        (17, {"quarter": (0.2, 0.9, 0.9, 0.99, 0.5)}, "partly"),
        (17, {"half": (0.1, 0.3, 0.3, 0.6, 0.05)}, "partly"),
    ],
)
def test_the_verdict_follows_from_the_sharing(claim, changes, expected):
    frames = {f"permuted-{name}": results(share) for name, share in (PAPERS | changes).items()}
    assert judge(CLAIMS[claim - 1], frames, "laptop").verdict == expected


def test_the_fullest_layer_decides_one_statement():
    frames = {f"permuted-{name}": results(share, output_full=0.3) for name, share in PAPERS.items()}
    assert [s.holds for s in judge(CLAIMS[14], frames, "laptop").statements] == [True, False]


def test_sharing_that_grows_with_the_tasks_is_told_from_sharing_from_the_start():
    claim = CLAIMS[17]
    grows = results(PAPERS["equal"], tasks=8)
    late = grows["stage"].isin([f"task-{i}" for i in (6, 7, 8)]) & (grows["metric"] == "sharing")
    grows.loc[late & (grows["layer"] != "output"), "value"] += 0.3
    grows.loc[late & (grows["layer"] == "output"), "value"] += 0.5
    assert judge(claim, {"permuted-equal": grows}, "laptop").verdict == "reproduced"
    steady = results(PAPERS["equal"], tasks=8)
    assert judge(claim, {"permuted-equal": steady}, "laptop").verdict != "reproduced"
    assert judge(claim, {"permuted-equal": results(PAPERS["equal"])}, "smoke").verdict == "not run"  # too few tasks


def test_figures_draw_what_was_measured(made):
    published = {name: results(share) for name, share in PAPERS.items()}
    run = {"equal": made[2].assign(seed=0)}
    for sides in ((published, run), (published, {}), ({}, run)):
        for draw in (figures.sharing, figures.fullness, figures.accuracies):
            assert draw(*sides).data
    figure = figures.sharing(published, run)
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["2", "3", "4", "5"]
    first = [trace for trace in figure.data if trace.visible and trace.type == "bar"]
    assert [trace.y[1] for trace in first] == pytest.approx([5.1, 30.1, 50.1])
    shown = steps[1].args[0]["visible"]
    assert len(shown) == len(figure.data) and shown[-1] is True
    assert figure.data[[i for i, on in enumerate(shown) if on][0]].y[1] == pytest.approx(5.1)
    cells = figures.accuracies(published, {}).data[0]
    assert cells.text[0][0] == "95.0" and cells.text[0][1] == "" and cells.text[4][0] == "95.0"
