"""Names of stages are written once and read back as the same stage."""

import pytest

from reproduction.experiments import EXPERIMENTS
from reproduction.protocol.stage import Stage, stage_at, stage_with

NAMES = {
    "add": Stage("add"),
    "pair-1": Stage("pair-1"),
    "add-turn-left": Stage("add-turn-left"),
    "add@0.1": Stage("add", factor=0.1),
    "full@1": Stage("full", factor=1.0),
    "mul@hard-concrete": Stage("mul", sampler="hard-concrete"),
    "mul@hard-concrete#2": Stage("mul", sampler="hard-concrete", repeat=2),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_stage_and_a_stage_one_name(name):
    assert Stage.read(name) == NAMES[name] and str(NAMES[name]) == name


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_stage_of_every_experiment_is_read_back(experiment):
    for config in EXPERIMENTS[experiment].presets.values():
        assert [str(Stage.read(name)) for name in config.stages] == list(config.stages)


def test_the_beta_itself_is_named_in_a_sweep_alone():
    assert (stage_at("add", 1.0), stage_with("add", 1.0), stage_with("add", 3.0)) == ("add@1", "add", "add@3")
