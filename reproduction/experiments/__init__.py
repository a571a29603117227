"""The paper's experiments, one file each: a config, its stages, and its measurements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from modules_lib.datasets.images import CLASSES
from modules_lib.support.checks import check_choice
from reproduction.experiments.addmul import AddMul
from reproduction.experiments.again import AddMulAgain, DoubleAgain
from reproduction.experiments.capacity import Capacity
from reproduction.experiments.cifar import RELEASED, LeaveOneOut
from reproduction.experiments.compare_samplers import Samplers
from reproduction.experiments.double import Double
from reproduction.experiments.permuted import VARIANTS, PermutedMNIST
from reproduction.experiments.reuse import Reuse
from reproduction.experiments.scan import Splits
from reproduction.experiments.sweep import FACTORS, Sweep
from reproduction.protocol.config import Config
from reproduction.protocol.scales import SCALES


@dataclass(frozen=True)
class Experiment:
    """An entry of EXPERIMENTS, which adds an experiment: its configs, and how book and claims use its runs.

    Attributes:
        presets: scale -> its config.
        chapter: the page of the book that shows its runs.
        claims: the numbers of the paper's claims that are judged by its results (:mod:`reproduction.claims`).
        published: scale -> the settings in which published runs differ from the preset: they have more of something.
        earlier: whether the published runs at the paper's scale were made before the released code decided where the
            paper is silent; False once runs of the present protocol are published.
    """

    presets: dict[str, Config]
    chapter: str
    claims: tuple[int, ...] = ()
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: bool = False

    def published_changes(self, scale: str) -> dict[str, Any]:
        """List the settings in which the published runs of a scale differ from its preset."""
        before = self.presets[scale].before() if self.earlier and scale == "paper" else {}
        return before | self.published.get(scale, {})


def _entries() -> dict[str, Experiment]:
    both, alone, more = (1, 2, 5, 12, 16, 20), (6, 12, 16, 20, 21), {"laptop": {"factors": FACTORS}}
    cifar = {"laptop": {"removed": CLASSES, "factors": (1.0, RELEASED)}}
    return {
        "addmul-fnn": Experiment(AddMul.presets("fnn"), "addmul", (*both, 3), earlier=True),
        "addmul-lstm": Experiment(AddMul.presets("lstm"), "addmul", (*both, 4, 6), earlier=True),
        "double-fnn": Experiment(Double.presets("fnn"), "double", alone, earlier=True),
        "double-lstm": Experiment(Double.presets("lstm"), "double", (*alone, 7), earlier=True),
        "double-lstm-apart": Experiment(Double.presets("lstm-apart"), "double", (7, 16, 21), earlier=True),
        "sweep-small": Experiment(Sweep.presets("small"), "alpha", (13,), more),
        "sweep-large": Experiment(Sweep.presets("large"), "alpha", (13, 14), more),
        "capacity-tiny": Experiment(Capacity.presets("tiny"), "alpha", earlier=True),
        "capacity-small": Experiment(Capacity.presets("small"), "alpha", (14,), earlier=True),
        "capacity-medium": Experiment(Capacity.presets("medium"), "alpha", (14,), earlier=True),
        "capacity-huge": Experiment(Capacity.presets("huge"), "alpha"),
        "scan": Experiment(Splits.presets(), "scan", (8, 9, 16), earlier=True),
        "cifar10": Experiment(LeaveOneOut.presets(), "cifar10", (10, 11, 16, 19), cifar, earlier=True),
        "cifar10-no-dropout": Experiment(LeaveOneOut.presets("no-dropout"), "cifar10", (28,)),
        "cifar10-resnet": Experiment(LeaveOneOut.presets("resnet"), "cifar10", (28,)),
        **{
            f"permuted-{variant}": Experiment(
                PermutedMNIST.presets(variant),
                "permuted",
                (15, 17, 18) if variant == "equal" else (17,),
                {"laptop": {"tasks": 10}},
            )
            for variant in VARIANTS
        },
        "reuse": Experiment(Reuse.presets(), "reuse", (22, 23, 24)),
        "again-addmul-fnn": Experiment(AddMulAgain.presets("fnn"), "again", (25, 26, 27)),
        "again-addmul-lstm": Experiment(AddMulAgain.presets("lstm"), "again", (25, 26, 27)),
        "again-double-fnn": Experiment(DoubleAgain.presets("fnn"), "again", (25, 26)),
        "samplers": Experiment(Samplers.all_presets(), "own", published={"laptop": {"repeats": 2}}),
    }


EXPERIMENTS = _entries()
# Chapter -> the experiments whose runs it shows.
CHAPTERS = {
    chapter: tuple(name for name, entry in EXPERIMENTS.items() if entry.chapter == chapter)
    for chapter in dict.fromkeys(entry.chapter for entry in EXPERIMENTS.values())
}


def preset(experiment: str, scale: str = "laptop", **changes: Any) -> Config:
    """Find an experiment's config at a scale, with changed fields; fields changed to None keep the preset's value.

    Raises:
        ValueError: there is no such experiment, scale or field, or a value is not allowed.
    """
    entry = EXPERIMENTS[check_choice("experiment", experiment, EXPERIMENTS)]
    config = entry.presets[check_choice("scale", scale, SCALES)]
    changes = {name: value for name, value in changes.items() if value is not None}
    unknown = sorted(changes.keys() - config.fields().keys())
    if unknown:
        raise ValueError(f"{experiment} has no setting {unknown[0]!r}; its settings are {', '.join(config.fields())}.")
    return replace(config, **changes)


def published_preset(experiment: str, scale: str = "laptop") -> Config:
    """Find the config whose runs are published at a scale: at laptop scale, more than a chapter has the time for."""
    entry = EXPERIMENTS[check_choice("experiment", experiment, EXPERIMENTS)]
    return preset(experiment, scale, **entry.published_changes(check_choice("scale", scale, SCALES)))


# Settings that an experiment no longer has, with the only value that it now has: stored runs may name them.
RETIRED: dict[str, dict[str, Any]] = {
    "scan": {"simple": "official"},
    **{
        f"permuted-{variant}": {
            "mask_steps": 1,
            "start": 2.0,
            "precision": "float32",
            "weight_precision": "float32",
            "sampler": "gumbel-sigmoid",
            "clipped": "logits",
        }
        for variant in VARIANTS
    },
}


def read_config(stored: dict[str, Any]) -> Config:
    """Read the config from a run's ``config.json``.

    Raises:
        ValueError: the config is of an experiment, or has a setting, that this version does not have.
    """
    settings = dict(stored)
    experiment = settings.pop("experiment")
    for name, value in RETIRED.get(experiment, {}).items():
        if settings.get(name) == value:
            del settings[name]
    kind = type(EXPERIMENTS[check_choice("experiment", experiment, EXPERIMENTS)].presets["paper"])
    return preset(experiment, "paper", **(kind.before() | settings))


def scale_of(config: Config) -> str:
    """Find the scale whose preset this config is, or ``"custom"``."""
    entry = EXPERIMENTS.get(config.experiment)
    return next((scale for scale in SCALES if entry and entry.presets[scale] == config), "custom")


def nearest_scale(config: Config) -> tuple[str, dict[str, Any]]:
    """Find the scale whose preset has most of a config's settings, and the settings that differ, with their values."""
    own = config.fields()
    changes = {
        scale: {name: value for name, value in own.items() if value != preset.fields()[name]}
        for scale, preset in EXPERIMENTS[config.experiment].presets.items()
    }
    scale = min(changes, key=lambda scale: len(changes[scale]))
    return scale, changes[scale]
