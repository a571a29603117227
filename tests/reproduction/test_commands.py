"""The command line, as a user types it."""

import json

import pytest

from reproduction.experiments import EXPERIMENTS
from reproduction.experiments.addmul import AddMul
from reproduction.protocol.scales import SCALES
from reproduction.runs import listing
from reproduction.runs import store as runs

TINY = ("--scale", "smoke", "--hidden", "8", "--weight-steps", "3", "--mask-steps", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "addmul-fnn", "--scale", "smoke", "--beta", "-2"], "beta is -2.0; it must be a number of at least 0"),
        (["run", "addmul-fnn", "--scale", "big"], "big"),
        (["run", "sorting"], "Unknown experiment 'sorting'; it must be one of"),
        (["run", "addmul-fnn", "--seeds", "0"], "seeds is 0"),
        (["run", "addmul-fnn", "--jobs", "0"], "jobs is 0; it must be a whole number of at least 1"),
        (
            ["publish", "addmul-fnn", "--scale", "smoke"],
            "is not finished with these settings; `run` with the same ones",
        ),
    ],
)
def test_the_command_line_refuses_bad_input_in_one_sentence(reproduction, tmp_path, arguments, message):
    result = reproduction(*arguments, MODULES_RUNS=str(tmp_path))
    assert result.returncode != 0 and "Traceback" not in result.stderr
    assert message in result.stderr + result.stdout


def test_the_command_line_prints_verdicts_as_json(reproduction):
    listed = json.loads(reproduction("claims", "--json").stdout)
    assert [row["id"] for row in listed] == list(range(1, 29))


def test_every_setting_is_an_option_with_help(reproduction):
    page = reproduction("run", "--help").stdout.replace("│", " ")  # whose frame cuts lines
    text = " ".join(page.split())
    options = [f"--{name.replace('_', '-')}" for name in AddMul().fields() if name != "network"]
    places = [page.find(f"{option} ") for option in options]
    assert -1 not in places and places == sorted(places)  # in the config's order, every time
    assert "steps of Adam on the mask logits" in text and "units of the FNN" in text
    assert (
        "the rate of Adam on the mask logits. In cifar10: the paper's rate here is a tenth" in text
    )  # an experiment that says otherwise


def test_runs_are_made_listed_checked_and_published(reproduction, tmp_path):
    folders = {"MODULES_RUNS": str(tmp_path / "runs"), "MODULES_RESULTS": str(tmp_path / "results")}

    def command(*arguments):
        return reproduction(*arguments, **folders)

    assert "Nothing is stored" in command("show").stdout
    made = command("run", "addmul-fnn", *TINY, "--seed", "4", "--samples", "2")
    assert made.returncode == 0, made.stderr
    [run] = runs.stored(tmp_path / "runs")
    assert run.seed == 4 and run.config()["hidden"] == [8] and run.config()["mask_steps"] == 2
    assert run.config()["samples"] == 2
    (run.folder.with_name("seed-5.partial")).mkdir()
    shown = command("show").stdout
    assert "smoke, weight_steps 3, samples 2, mask_steps 2, hidden (8,)" in shown and "unfinished: just begun" in shown
    sound = command("check")
    assert sound.returncode == 0 and "1 runs checked, no problems" in sound.stdout
    weights = run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    damaged = command("check")
    assert damaged.returncode == 1 and f"{weights} is damaged" in damaged.stdout


def test_experiments_are_listed_with_what_they_show_and_cost(reproduction):
    text = reproduction("list").stdout
    assert max(map(len, text.splitlines())) <= 100
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ") and line.split()}
    assert all(len(rows[name]) == 6 for name in EXPERIMENTS)
    assert rows["addmul-fnn"][:3] == [f"{EXPERIMENTS['addmul-fnn'].presets[scale].work():,}" for scale in SCALES]
    assert "Two additions with inputs and outputs of their own (section 3.2, appendix D): book/double.ipynb" in text


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_one_experiment_is_listed_with_its_stages_and_settings(name):
    text = listing.one_experiment(name)
    assert max(map(len, text.splitlines())) <= 100
    assert all(stage in text for config in EXPERIMENTS[name].presets.values() for stage in config.stages)
    assert f"python -m reproduction run {name} --scale paper" in text and "not as in the paper: " in text


def test_an_unknown_experiment_is_not_listed(reproduction):
    result = reproduction("list", "sorting")
    assert result.returncode == 1 and "error: Unknown experiment 'sorting'; it must be one of addmul-" in result.stderr


def test_without_a_command_the_help_is_shown(reproduction):
    result = reproduction()
    assert result.returncode == 0 and "usage: python -m reproduction" in result.stdout and "publish" in result.stdout
