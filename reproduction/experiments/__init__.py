"""The paper's experiments, one file each: a config, its stages, and what is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modules_lib.datasets.images import CLASSES
from modules_lib.support.checks import check_choice
from reproduction.experiments.addmul import AddMul
from reproduction.experiments.capacity import Capacity
from reproduction.experiments.cifar import RELEASED, LeaveOneOut
from reproduction.experiments.compare_samplers import Samplers
from reproduction.experiments.config import SCALES, Config
from reproduction.experiments.double import Double
from reproduction.experiments.permuted import VARIANTS, PermutedMNIST
from reproduction.experiments.scan import Splits
from reproduction.experiments.sweep import FACTORS, Sweep

EXPERIMENTS: dict[str, dict[str, Config]] = {
    "addmul-fnn": AddMul.presets("fnn"),
    "addmul-lstm": AddMul.presets("lstm"),
    "double-fnn": Double.presets("fnn"),
    "double-lstm": Double.presets("lstm"),
    "double-lstm-apart": Double.presets("lstm-apart"),
    "sweep-small": Sweep.presets("small"),
    "sweep-large": Sweep.presets("large"),
    "capacity-tiny": Capacity.presets("tiny"),
    "capacity-small": Capacity.presets("small"),
    "capacity-medium": Capacity.presets("medium"),
    "scan": Splits.presets(),
    "cifar10": LeaveOneOut.presets(),
    **{f"permuted-{variant}": PermutedMNIST.presets(variant) for variant in VARIANTS},
    "samplers": Samplers.all_presets(),
}
# Chapter -> the experiments whose runs it shows.
CHAPTERS = {
    "addmul": ("addmul-fnn", "addmul-lstm"),
    "double": ("double-fnn", "double-lstm", "double-lstm-apart"),
    "alpha": ("sweep-small", "sweep-large", "capacity-tiny", "capacity-small", "capacity-medium"),
    "scan": ("scan",),
    "cifar10": ("cifar10",),
    "permuted": tuple(f"permuted-{variant}" for variant in VARIANTS),
    "own": ("samplers",),
}

# Experiments whose published runs at the paper's scale were made before the released code decided where the paper is
# silent; an experiment leaves this list when it has runs of the present protocol.
EARLIER = (
    *("addmul-fnn", "addmul-lstm", "double-fnn", "double-lstm", "double-lstm-apart"),
    *("capacity-tiny", "capacity-small", "capacity-medium", "scan", "cifar10"),
)
# How published runs differ from the preset of their scale: at laptop scale they have more of something.
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    "laptop": {
        "sweep-small": {"factors": FACTORS},
        "sweep-large": {"factors": FACTORS},
        "cifar10": {"removed": CLASSES, "factors": (1.0, RELEASED)},
        **{f"permuted-{variant}": {"tasks": 10} for variant in VARIANTS},
        "samplers": {"repeats": 2},
    },
    "paper": {name: type(EXPERIMENTS[name]["paper"]).before() for name in EARLIER},
}


def preset(experiment: str, scale: str = "laptop", **changes: Any) -> Config:
    """An experiment's config at a scale, with changed fields; fields changed to None keep the preset's value.

    Raises:
        ValueError: there is no such experiment, scale or field, or a value is not allowed.
    """
    check_choice("experiment", experiment, EXPERIMENTS)
    config = EXPERIMENTS[experiment][check_choice("scale", scale, SCALES)]
    changes = {name: value for name, value in changes.items() if value is not None}
    unknown = sorted(changes.keys() - config.fields().keys())
    if unknown:
        raise ValueError(f"{experiment} has no setting {unknown[0]!r}; its settings are {', '.join(config.fields())}.")
    return replace(config, **changes)


def published_preset(experiment: str, scale: str = "laptop") -> Config:
    """The config whose runs are published at a scale: at laptop scale, more than a chapter has the time for."""
    return preset(experiment, scale, **PUBLISHED[check_choice("scale", scale, SCALES)].get(experiment, {}))


# Settings that an experiment no longer has, with the only value that it now has: stored runs may name them.
RETIRED: dict[str, dict[str, Any]] = {"scan": {"simple": "official"}}


def read_config(stored: dict[str, Any]) -> Config:
    """The config that a run's ``config.json`` holds.

    Raises:
        ValueError: it is of an experiment or with a setting that this version does not have.
    """
    settings = dict(stored)
    experiment = settings.pop("experiment")
    for name, value in RETIRED.get(experiment, {}).items():
        if settings.get(name) == value:
            del settings[name]
    kind = type(EXPERIMENTS[check_choice("experiment", experiment, EXPERIMENTS)]["paper"])
    return preset(experiment, "paper", **(kind.before() | settings))


def scale_of(config: Config) -> str:
    """The scale whose preset this config is, or ``"custom"``."""
    presets = EXPERIMENTS.get(config.experiment, {})
    return next((scale for scale in SCALES if presets.get(scale) == config), "custom")


def nearest_scale(config: Config) -> tuple[str, dict[str, Any]]:
    """The scale whose preset has most of a config's settings, and the settings that differ with the config's values."""
    own = config.fields()
    changes = {
        scale: {name: value for name, value in own.items() if value != preset.fields()[name]}
        for scale, preset in EXPERIMENTS[config.experiment].items()
    }
    scale = min(changes, key=lambda scale: len(changes[scale]))
    return scale, changes[scale]
