"""The base of every experiment's config: settings of training, the parts of a run, and an identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from modules_lib.analysis.compare import sharing
from modules_lib.masking.masks import Masks
from modules_lib.support.checks import check_count, check_number, check_slices
from modules_lib.training.progress import Progress, Rows

IMAGES = {"official": "official images", "generated": "generated images"}  # a setting's values -> their names in prose


def choice(default: Any, before: Any) -> Any:
    """Make a field of a config for a choice that the paper leaves open.

    Args:
        default: the released code's choice.
        before: the value from before the field was there; runs with it keep their identity.
    """
    return dataclasses.field(default=default, metadata={"before": before})


@dataclass(frozen=True, kw_only=True)
class Config(ABC):
    """Everything that can change an experiment's result, but for the seed. Defaults are the paper's (appendix B).

    Attributes:
        batch: examples a step.
        weight_steps: steps of Adam on the weights.
        weight_lr: its rate.
        cooldown: the last proportion of these steps, over which the rate falls to zero; the paper has none.
        mask_lr: the rate of Adam on the mask logits.
        samples: K, mask samples a batch.
        beta: the penalty's strength, alpha = beta / batch.
        clip: the largest gradient norm, in both loops.
    """

    batch: int = 128
    weight_steps: int = 20_000
    weight_lr: float = 1e-3
    cooldown: float = 0.0
    mask_lr: float = 1e-2
    samples: int = 4
    beta: float = 1e-4
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch", "weight_steps", "samples"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        for name in ("weight_lr", "mask_lr", "clip"):
            check_number(name, getattr(self, name), "1e-3", above=True)
        check_number("beta", self.beta, "1e-4 (beta = batch * alpha)")
        check_number("cooldown", self.cooldown, "0.3", below=1.0)
        check_slices(self.batch, self.samples)
        # 1 and 1.0 are one setting: one hash
        for name in ("weight_lr", "cooldown", "mask_lr", "clip", "beta"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    @abstractmethod
    def experiment(self) -> str:
        """The experiment's name, for folders and tables."""

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """The subtasks that masks are trained on, in order."""

    @property
    def source(self) -> str:
        """Where the examples come from, for provenance and prose."""
        return "computed examples"

    @property
    def alpha(self) -> float:
        """The penalty on each logit, beta / batch (appendix B)."""
        return self.beta / self.batch

    @abstractmethod
    def model(self) -> nn.Module:
        """Make the untrained network, from torch's global random state."""

    @abstractmethod
    def layers(self) -> dict[str, str]:
        """Map the name of each masked parameter to its name in figures, from input to output."""

    @property
    def drawn(self) -> tuple[str, ...]:
        """The stages whose masks the book draws weight by weight, which are published with the run of seed 0."""
        return ()

    @property
    @abstractmethod
    def compared(self) -> tuple[tuple[str, ...], ...]:
        """Groups of stages whose masks are compared with one another."""

    @abstractmethod
    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        """Train a model on the whole task, and record its training curve."""

    @property
    def apart(self) -> tuple[str, ...]:
        """The stages that are trained apart from the weights, beside one another."""
        return self.stages

    def needs(self, stage: str) -> tuple[str, ...]:
        """Name the stages that come before this one: those whose masks it begins with, and theirs before them."""
        return ()

    @abstractmethod
    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Find the masks of one stage, and record their training curve.

        Args:
            model, seed: of the run.
            stage: one of ``stages``.
            progress: is told of every step.
            made: the masks of the stages that this one needs.
        """

    def asked(self, network: nn.Module) -> Rows:
        """Measure a network on every task: rows of ``task``, ``metric`` and ``value``; none by default."""
        return []

    @abstractmethod
    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure everything that the figures and claims need."""

    def _counts(self, masks: dict[str, Masks]) -> Rows:
        """Weights kept by each stage, and shared with the others of its group (eq. 14), by layer and in total."""
        rows: Rows = []
        sizes = next(iter(masks.values()))
        groups = [[stage for stage in group if stage in masks] for group in self.compared]
        shared = {stage: [other for other in group if other != stage] for group in groups for stage in group}
        for name, layer in [*self.layers().items(), (None, "total")]:
            rows.append({"stage": "unmasked", "layer": layer, "metric": "kept", "value": sizes.size(name)})
            for stage, mask in masks.items():
                rows.append({"stage": stage, "layer": layer, "metric": "kept", "value": mask.count(name)})
            for stage, others in shared.items():
                if others:
                    value = sharing(masks[stage], *(masks[other] for other in others), name=name)
                    rows.append({"stage": stage, "layer": layer, "metric": "sharing", "value": round(value, 6)})
        return rows

    @abstractmethod
    def work(self) -> int:
        """Count the run's training steps."""

    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def before(cls) -> dict[str, Any]:
        """List the settings that stored runs may lack, with the values that these runs were made with."""
        return {f.name: f.metadata["before"] for f in dataclasses.fields(cls) if "before" in f.metadata}

    def to_json(self) -> str:
        return json.dumps({"experiment": self.experiment, **self.fields()}, indent=1, sort_keys=True)

    def hash(self) -> str:
        """Compute a run's identity: ten hexadecimal digits of the experiment and every setting that is not usual.

        A setting's usual value is its default, or that of runs from before the setting: these keep their hash.
        """
        usual = {f.name: f.metadata.get("before", f.default) for f in dataclasses.fields(self)}
        changed = {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        return hashlib.sha256(json.dumps([self.experiment, changed], sort_keys=True).encode()).hexdigest()[:10]
