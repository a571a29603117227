"""Three ways to sample masks, on one network: do the masks depend on how they are found?

Addition and multiplication; the weights are trained once. Stages: both operations, addition and multiplication with
every sampler, repeated with other noise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib.analysis.chance import stability
from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import OPERATIONS
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.masks import Masks
from modules_lib.masking.samplers import SAMPLERS
from modules_lib.models.paper_networks import FNN
from modules_lib.support.checks import check_choice, check_count
from modules_lib.training.loops import mask_steps
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.addmul import STAGES, AddMul
from reproduction.experiments.capacity import SHORTER, SIZES
from reproduction.protocol.config import Config
from reproduction.protocol.stage import Stage


def stage_of(task: str, sampler: str, repeat: int = 1) -> str:
    """Name a stage with a sampler: ``add@hard-concrete``, and ``add@hard-concrete#2`` for a repetition."""
    return str(Stage(task, sampler=sampler, repeat=repeat))


def stage_between(task: str, first: str, second: str) -> str:
    """Name the stage of a comparison of two samplers' masks: ``add@gumbel-sigmoid|hard-concrete``."""
    return stage_of(task, f"{first}|{second}")


@dataclass(frozen=True, kw_only=True)
class Samplers(AddMul):
    """The config of one FNN on the addition/multiplication task, masked with every sampler.

    Attributes:
        samplers: their names.
        repeats: how many times each stage is trained, each time with other noise and batches.
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn",)

    samplers: tuple[str, ...] = tuple(SAMPLERS)
    repeats: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("repeats", self.repeats)
        samplers = tuple(self.samplers) if isinstance(self.samplers, tuple | list) else ()
        if not samplers or len(set(samplers)) < len(samplers):
            raise ValueError(
                f"samplers is {self.samplers!r}; it must list at least one, none twice: {', '.join(SAMPLERS)}."
            )
        for sampler in samplers:
            check_choice("sampler", sampler, SAMPLERS)
        object.__setattr__(self, "samplers", samplers)

    @classmethod
    def all_presets(cls) -> dict[str, Config]:
        """Make the config of each scale: the network of the capacity comparison's "medium" size."""
        hidden = {"smoke": (40, 40), "laptop": SIZES["medium"][0], "paper": SIZES["medium"][1]}
        changes: dict[str, Any] = {"smoke": {"repeats": 1}, "laptop": SHORTER | {"repeats": 1}}
        return {
            scale: cls(**config.fields() | changes.get(scale, {}) | {"hidden": hidden[scale]})
            for scale, config in AddMul.presets("fnn").items()
        }

    @property
    def experiment(self) -> str:
        return "samplers"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(
            stage_of(stage, sampler, i + 1)
            for sampler in self.samplers
            for i in range(self.repeats)
            for stage in STAGES
        )

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(stage_of(stage, sampler) for stage in OPERATIONS) for sampler in self.samplers)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        asked = Stage.read(check_choice("stage", stage, self.stages))
        config = replace(self, sampler=asked.sampler)
        return config._train_masks(model, seed, stage, self.data(asked.task), arithmetic.loss, progress)

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure accuracies, counts and sharing of first masks, and how far masks of one and of two samplers agree."""
        first = {stage: mask for stage, mask in masks.items() if Stage.read(stage).repeat == 1}
        return self._outcomes(model, first) + self._counts(first) + self._agreement(masks)

    def _agreement(self, masks: dict[str, Masks]) -> Rows:
        rows: Rows = []
        for task in STAGES:
            of = {
                sampler: [masks[stage_of(task, sampler, i + 1)] for i in range(self.repeats)]
                for sampler in self.samplers
            }
            pairs = {stage_of(task, sampler): found for sampler, found in of.items() if self.repeats > 1}
            pairs |= {stage_between(task, a, b): [of[a][0], of[b][0]] for a, b in combinations(self.samplers, 2)}
            for stage, found in pairs.items():
                total = stability(found).set_index("layer").loc["total"]
                rows += [
                    {"stage": stage, "layer": "total", "metric": metric, "value": round(float(total[column]), 6)}
                    for metric, column in (("iou", "iou"), ("iou by chance", "chance"))
                ]
        return rows


def step_times(steps: int = 20) -> dict[str, float]:
    """Time a step of mask training on this machine with each sampler: milliseconds, median over steps."""
    torch.manual_seed(0)
    model = FNN(42, (200, 200, 100), 20)
    inputs, targets = torch.randn(128, 42), torch.randint(0, 20, (128,))
    trainings = {
        sampler: mask_steps(
            MaskedModel(model, sampler=sampler),
            lambda _: (inputs, targets),
            F.cross_entropy,
            steps=steps + 1,
            alpha=1e-6,
        )
        for sampler in SAMPLERS
    }
    taken: dict[str, list[float]] = {sampler: [] for sampler in SAMPLERS}
    for step in range(steps + 1):
        for sampler, training in trainings.items():
            began = time.perf_counter()
            next(training)
            if step:  # the first one compiles
                taken[sampler].append(1000 * (time.perf_counter() - began))
    return {sampler: float(pd.Series(times).median()) for sampler, times in taken.items()}
