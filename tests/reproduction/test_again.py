"""Modules found twice, at two prices, in parts and in other networks: how they are made, and what is measured."""

import pandas as pd
import pytest
import torch

from benchmarks.matching import by_units, matched_units, reordered, states
from modules_lib import Masks, iou, sharing, stability, subnetwork
from modules_lib.models.paper_networks import FNN
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.experiments.again import again, dearer, in_half, in_parts, with_ends
from reproduction.runs.measurements import COLUMNS
from reproduction.runs.measures import agreement, outcome, part_within

CONFIGS = {
    name: preset(f"again-{name}", "smoke", weight_steps=2, mask_steps=3, mask_lr=1.0, beta=1e-3)
    for name in ("addmul-fnn", "addmul-lstm", "double-fnn")
}
LAYERS = ["first", "second", "third", "last"]


@pytest.fixture(scope="module", params=CONFIGS)
def made(request):
    """A config, the masks that a few steps of it leave, and its measurements; trained here, without a run."""
    config = CONFIGS[request.param]
    model, _ = config.train(0, Progress())
    found = {stage: config.find_masks(model, 0, stage, Progress())[0] for stage in config.stages}
    rows = [{"seed": 0, **row} for row in config.measure(model, found)]
    return config, found, pd.DataFrame(rows, columns=list(COLUMNS))


def masks(seed):
    generator = torch.Generator().manual_seed(seed)
    return Masks({name: torch.rand(6, 5, generator=generator) < 0.5 for name in LAYERS})


def test_a_subtask_is_masked_again_with_other_noise_and_batches(made):
    config, found, _ = made
    task, other = config.SUBTASKS
    assert config.stages == ("full", task, other, again(task), again(other), dearer(task), dearer(other))
    for stage in (again(task), dearer(task)):
        alike, others = config.data(stage).batch(5, "x"), config.data(other).batch(5, "x")
        assert torch.equal(alike[0], config.data(task).batch(5, "x")[0]) and not torch.equal(alike[0], others[0])
        assert 0 < iou(found[task], found[stage]) < 1
    assert found[dearer(task)].count() < found[task].count()


def test_the_table_has_the_agreement_of_every_two_masks(made):
    config, found, frame = made
    task, other = config.SUBTASKS
    for first, second in ((task, again(task)), (task, other), (task, dearer(task)), (again(other), dearer(other))):
        measured, one, two = agreement(frame, first, second), found[first], found[second]
        assert measured["total"][0] == pytest.approx(iou(one, two), abs=1e-6)
        for name, layer in config.layers().items():
            assert measured[layer][0] == pytest.approx(iou(one, two, name), abs=1e-6, nan_ok=True)
        chance, drawn = agreement(frame, first, second, "iou by chance"), stability([one, two]).set_index("layer")
        assert chance["total"][0] == pytest.approx(drawn["chance"]["total"], abs=1e-6)
    within = sharing(found[dearer(task)], found[task])
    assert part_within(frame, dearer(task), task)[0] == pytest.approx(within, abs=1e-4)


def test_accuracies_under_parts_are_those_of_the_network(made):
    config, found, frame = made
    model, _ = config.train(0, Progress())
    parts = in_parts(found, config.SUBTASKS, list(config.layers()))
    for stage, mask in parts.items():
        right = {
            row["task"]: row["value"] for row in config.asked(subnetwork(model, mask)) if row["metric"] == "correct"
        }
        assert {task: outcome(frame, stage, task)[0] for task in right} == right


def test_parts_of_masks_are_put_together_layer_by_layer():
    own = {stage: masks(i) for i, stage in enumerate(("full", "add", "mul"))}
    parts = in_parts(own, ("add", "mul"), LAYERS)
    ends, every = parts[with_ends("add")], torch.ones(6, 5, dtype=torch.bool)
    for name in LAYERS:
        expected = own["full"][name] if name in ("first", "last") else ~own["add"][name]
        assert torch.equal(ends[name], expected)
        assert torch.equal(parts[in_half("mul", "first half")][name], own["mul"][name] if name in LAYERS[:2] else every)
        assert torch.equal(
            parts[in_half("mul", "second half")][name], own["mul"][name] if name in LAYERS[2:] else every
        )


def test_matching_finds_the_units_of_a_network_whose_units_were_exchanged():
    torch.manual_seed(0)
    model, inputs = FNN(12, (9, 7), 4), torch.randn(500, 12)
    exchanged = FNN(12, (9, 7), 4)
    orders = [torch.randperm(9), torch.randperm(7)]
    exchanged.load_state_dict(model.state_dict())
    with torch.no_grad():
        for i, order in enumerate(orders):
            for name in ("weight", "bias"):
                parameter = getattr(exchanged.layers[i], name)
                parameter.copy_(parameter[order])
            exchanged.layers[i + 1].weight.copy_(exchanged.layers[i + 1].weight[:, order])
    torch.testing.assert_close(exchanged(inputs), model(inputs))
    found = matched_units(states(model, inputs), states(exchanged, inputs))
    names = [f"layers.{i}.weight" for i in range(3)]
    large = [Masks({n: dict(m.named_parameters())[n].abs() > 0.1 for n in names}) for m in (model, exchanged)]
    assert iou(*large) < 0.8
    assert reordered(large[1], found) == large[0]


def test_random_masks_that_keep_every_units_number_agree_by_chance():
    torch.manual_seed(1)
    rows = torch.rand(60, 1)  # some units keep much, others little
    first, second = (Masks({"w": torch.rand(60, 50) < rows}) for _ in range(2))
    assert by_units(first, second) == pytest.approx(iou(first, second), abs=0.02)
