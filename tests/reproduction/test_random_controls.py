"""The controls on the paper's experiments, and the comparison of samplers: rows, tables, and bad settings."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from modules_lib import Masks, iou, stability
from modules_lib.datasets.images import CLASSES
from modules_lib.masking.samplers import SAMPLERS
from reproduction.experiments import preset, published_preset
from reproduction.experiments.compare_samplers import Samplers, stage_of, step_times
from reproduction.experiments.random_controls import of_classes, of_operations
from reproduction.notebook import control_tables as tables
from reproduction.runs.execute import execute
from reproduction.runs.published import published, results_folder, table
from tests.reproduction.test_permuted import drawn


class Knows(nn.Module):
    """Answers additions right by a table of its own, as long as its first weight is there."""

    def __init__(self):
        super().__init__()
        self.switch = nn.Linear(50, 1, bias=False)
        with torch.no_grad():
            self.switch.weight.zero_()
            self.switch.weight[0, :3] = 1.0

    def forward(self, x):  # [batch, 42] -> [batch, 20]
        numbers = x[:, :40].view(-1, 4, 10).argmax(-1)
        a, b = numbers[:, 0] * 10 + numbers[:, 1], numbers[:, 2] * 10 + numbers[:, 3]
        answer = (a + b) % 100 if float(self.switch.weight.sum()) == 3 else torch.full_like(a, 99)
        return torch.cat([nn.functional.one_hot(part, 10) for part in (answer // 10, answer % 10)], 1).float()


def test_controls_of_operations_tell_these_weights_from_any():
    add = Masks({"switch.weight": torch.arange(50).view(1, 50) < 3})
    mul = Masks({"switch.weight": (torch.arange(50).view(1, 50) % 5) == 2})
    rows = pd.DataFrame(of_operations(Knows(), {"add": add, "mul": mul}, draws=19)).set_index(["task", "what"])
    assert rows.loc[("add", "alone"), "observed"] == 1 and rows.loc[("add", "alone"), "p"] == 1 / 20
    assert rows.loc[("add", "without"), "observed"] < 0.02 < 0.5 < rows.loc[("add", "without"), "chance"]
    assert rows.loc[("add", "alone"), "largest"] == 1  # they are the largest, here
    assert rows.loc[("add", "shared"), "observed"] == pytest.approx(1 / 3, abs=1e-5)
    units = rows.loc[("add", "shared, units")]
    assert units["observed"] == pytest.approx(1 / 3, abs=1e-5) and units["low"] <= units["chance"] <= units["high"]
    assert rows.loc[("mul", "other"), "observed"] == rows.loc[("add", "without"), "observed"] and len(rows) == 10


def test_controls_of_classes_draw_within_the_reference():
    """A classifier of one weight a class: without it the class is gone, and random removal rarely meets it."""

    class OneEach(nn.Module):
        def __init__(self):
            super().__init__()
            self.gains = nn.Linear(40, 1, bias=False)
            with torch.no_grad():
                self.gains.weight.fill_(1.0)

        def forward(self, x):  # the class lights its own rows: [batch, 1, 28, 28] -> [batch, 10]
            rows = x.mean((1, 3))[:, :20].view(-1, 10, 2).sum(-1)
            return torch.where(self.gains.weight[0, :10] != 0, rows - rows.roll(1, 1), -99.0)

    full = Masks({"gains.weight": torch.arange(40).view(1, 40) < 30})
    masks = {"full": full, "cat": full & ~Masks({"gains.weight": torch.arange(40).view(1, 40) == CLASSES.index("cat")})}
    [row] = of_classes(OneEach(), masks, ("cat",), drawn("test"), draws=19)
    assert row["observed"] == 0 and row["chance"] > 0.5 and row["task"] == "cat" and row["what"] == "without"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODULES_RUNS", str(tmp_path_factory.mktemp("runs")))
        [run] = execute(replace(preset("samplers", "smoke"), repeats=2, mask_steps=12, mask_lr=0.3, start=1.0), 1)
        return run, table([run], "samplers")


def test_every_sampler_is_run_twice_with_other_noise(made):
    run, frame = made
    first, second = (run.masks(stage_of("add", "hard-concrete", i)) for i in (1, 2))
    assert first != second
    rows = frame[(frame["stage"] == "add@hard-concrete") & (frame["metric"] == "iou")]
    assert rows["value"].item() == pytest.approx(iou(first, second), abs=1e-6)
    chance = frame[(frame["stage"] == "add@hard-concrete") & (frame["metric"] == "iou by chance")]["value"].item()
    assert chance == pytest.approx(stability([first, second])["chance"].iloc[-1], abs=1e-6)
    across = frame[(frame["stage"] == "mul@gumbel-sigmoid|straight-through") & (frame["metric"] == "iou")]
    masks = [run.masks(stage_of("mul", name)) for name in ("gumbel-sigmoid", "straight-through")]
    assert across["value"].item() == pytest.approx(iou(*masks), abs=1e-6)


def test_the_table_of_samplers_has_a_row_each(made):
    lines = tables.samplers(made[1], dict.fromkeys(SAMPLERS, 1.25)).data.splitlines()
    assert len(lines) == 2 + len(SAMPLERS) and all(line.endswith("| 1.2 |") for line in lines[2:])
    assert len({line.count("|") for line in lines}) == 1
    said = tables.between_samplers(made[1])
    assert said.count(" and ") == 3 and "gumbel-sigmoid and hard-concrete" in said


def test_steps_of_all_samplers_are_timed():
    times = step_times(steps=3)
    assert set(times) == set(SAMPLERS) and all(0 < value < 10_000 for value in times.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samplers": ()}, "must list at least one, none twice"),
        ({"samplers": ("hard-concrete", "hard-concrete")}, "none twice"),
        ({"samplers": ("relax",)}, "Unknown sampler 'relax'"),
        ({"repeats": 0}, "repeats is 0"),
        ({"network": "lstm"}, "Unknown network 'lstm'"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(preset("samplers"), **changes)


def test_the_published_controls_are_of_the_published_runs():
    rows = pd.DataFrame(json.loads((results_folder() / "controls.json").read_text())["rows"])
    for name, frame in rows.groupby("experiment"):
        assert set(frame["seed"]) == set(published(published_preset(name))["seed"])
        assert ((frame["p"] > 0) & (frame["p"] <= 1)).all() and np.isfinite(frame["observed"]).all()
    assert set(rows["experiment"]) == {"addmul-fnn", "addmul-lstm", "cifar10"}
    assert len(tables.controls_of_operations(tables.published_controls("addmul-fnn")).data.splitlines()) == 14
    assert len(tables.controls_of_classes(tables.published_controls("cifar10")).data.splitlines()) == 2 + len(CLASSES)
    # what they speak of is what the runs measured
    own = rows[(rows["experiment"] == "addmul-fnn") & (rows["what"] == "alone") & (rows["task"] == "add")]
    frame = published(published_preset("addmul-fnn"))
    measured = frame[(frame["stage"] == "add") & (frame["task"] == "add") & (frame["metric"] == "correct")]
    assert own.set_index("seed")["observed"].to_dict() == pytest.approx(
        measured.set_index("seed")["value"].to_dict(), abs=2e-4
    )


def test_samplers_are_a_setting_of_every_experiment_but_the_joint_one():
    assert preset("addmul-fnn", sampler="hard-concrete").hash() != preset("addmul-fnn").hash()
    assert isinstance(preset("samplers"), Samplers)
    with pytest.raises(ValueError, match="permuted-equal has no setting 'sampler'; its settings are"):
        preset("permuted-equal", sampler="hard-concrete")
