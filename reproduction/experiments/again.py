"""Two subtasks, each masked three times: is a module one thing, and where in the network does it work? (section 3)

Stages: both subtasks; each alone; each alone again, with other noise and other batches; each at three times beta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

from torch import nn

from modules_lib.analysis.chance import stability
from modules_lib.datasets.arithmetic import OPERATIONS
from modules_lib.datasets.double_addition import PAIRS
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.support.checks import check_choice
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.addmul import AddMul
from reproduction.experiments.double import Double
from reproduction.protocol.config import Config
from reproduction.protocol.frozen_config import FrozenConfig
from reproduction.protocol.stage import Stage, stage_at

DEARER = 3.0  # beta, as a multiple of the config's
HALVES = ("first half", "second half")  # of the layers


def again(task: str) -> str:
    """Name the stage of a subtask's second masks: ``add#2``."""
    return str(Stage(task, repeat=2))


def dearer(task: str) -> str:
    """Name the stage of a subtask's masks at the larger beta: ``add@3``."""
    return stage_at(task, DEARER)


def with_ends(task: str) -> str:
    """Name the stage of a subtask's inverted mask with the full task's first and last layer."""
    return f"not {task}, ends of full"


def in_half(task: str, half: str) -> str:
    """Name the stage of a subtask's mask in one of HALVES alone: ``add, first half``."""
    return f"{task}, {half}"


def in_parts(masks: Mapping[str, Masks], tasks: Sequence[str], layers: Sequence[str]) -> dict[str, Masks]:
    """Combine masks layer by layer, to see where in the network a module works.

    For every subtask: its inverted mask with the first and the last layer of the full task's, which both subtasks read
    and write; and its mask in one half of the layers alone, with all weights in the other.

    Args:
        masks: by stage: "full", and each subtask.
        tasks: the subtasks.
        layers: the names of the masked parameters, from input to output.
    """
    full, parts = masks["full"], {}
    ends, first = (layers[0], layers[-1]), layers[: len(layers) // 2]
    for task in tasks:
        mask = masks[task]
        parts[with_ends(task)] = Masks({name: full[name] if name in ends else ~mask[name] for name in layers})
        for half, there in zip(HALVES, (first, layers[len(first) :]), strict=True):
            parts[in_half(task, half)] = Masks({name: mask[name] | (name not in there) for name in layers})
    return parts


class Again(FrozenConfig):
    """What such configs have in common; among a class's bases it comes before the config of the subtasks."""

    SUBTASKS: ClassVar[tuple[str, ...]]

    @property
    def stages(self) -> tuple[str, ...]:
        return ("full", *self.SUBTASKS, *map(again, self.SUBTASKS), *map(dearer, self.SUBTASKS))

    @property
    def drawn(self) -> tuple[str, ...]:
        return ()

    def data(self, stage: str) -> Any:
        """Make the examples of a stage, those of its subtask."""
        return super().data(Stage.read(stage).task)  # type: ignore[misc]  # of the next base

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Find masks; a stage's name is part of its streams of noise and batches, so that no two have the same."""
        asked = Stage.read(check_choice("stage", stage, self.stages))
        config: Any = replace(self, beta=(asked.factor or 1.0) * self.beta)
        return super(Again, config).find_masks(model, seed, stage, progress, made)  # type: ignore[safe-super]

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure the masks as where they are found once; parts of them; and how far every two agree, by layer."""
        rows = super().measure(model, masks)  # type: ignore[safe-super]
        for stage, mask in in_parts(masks, self.SUBTASKS, list(self.layers())).items():
            rows += [{"stage": stage, **row} for row in self.asked(subnetwork(model, mask))]
        layers = self.layers() | {"total": "total"}
        for first, second in combinations([stage for stage in masks if stage != "full"], 2):
            for _, found in stability([masks[first], masks[second]]).iterrows():
                for metric, column in (("iou", "iou"), ("iou by chance", "chance")):
                    place = {"stage": first, "task": second, "layer": layers[found["layer"]]}
                    rows.append({**place, "metric": metric, "value": round(float(found[column]), 6)})
        return rows


@dataclass(frozen=True, kw_only=True)
class AddMulAgain(Again, AddMul):
    """The config of one network on addition and multiplication, each masked three times."""

    SUBTASKS = tuple(OPERATIONS)

    @classmethod
    def presets(cls, network: str = "fnn") -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        fnn = {"weight_lr": 2e-3, "mask_steps": 2000, "mask_lr": 3e-2}
        fewer = {"laptop": fnn if network == "fnn" else {"mask_steps": 1500, "mask_lr": 6e-2}}
        presets = AddMul.presets(network)
        return {scale: cls(**config.fields() | fewer.get(scale, {})) for scale, config in presets.items()}

    @property
    def experiment(self) -> str:
        return f"again-addmul-{self.network}"


@dataclass(frozen=True, kw_only=True)
class DoubleAgain(Again, Double):
    """The config of one network on two additions, each masked three times."""

    SUBTASKS = PAIRS

    @classmethod
    def presets(cls, network: str = "fnn") -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        smaller = {"hidden": (200, 200, 100), "weight_steps": 2500, "weight_lr": 2e-3, "beta": 2e-4}
        fewer = {"laptop": {**smaller, "mask_steps": 2000, "mask_lr": 5e-2}}
        presets = Double.presets(network)
        return {scale: cls(**config.fields() | fewer.get(scale, {})) for scale, config in presets.items()}

    @property
    def experiment(self) -> str:
        return f"again-double-{self.network}"
