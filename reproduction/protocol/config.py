"""What every experiment's config has: the settings of the two training loops, what they record, and an identity."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from modules_lib.analysis.compare import sharing
from modules_lib.masking.masked_model import Where
from modules_lib.masking.masks import Masks
from modules_lib.masking.samplers import SAMPLERS
from modules_lib.masking.subnetworks import Network, subnetwork
from modules_lib.support.checks import check_choice, check_count, check_number, check_slices
from modules_lib.support.device import device
from modules_lib.support.precision import PRECISIONS
from modules_lib.training.clipping import CLIPPED
from modules_lib.training.loops import Loss, train_weights
from modules_lib.training.mask_training import MaskTraining
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.trained_masks import histogram, sampled

IMAGES = {"official": "official images", "generated": "generated images"}  # a setting's values -> what prose says


def choice(default: Any, before: Any) -> Any:
    """Make a field of a config for a choice that the paper leaves open.

    Args:
        default: the released code's choice.
        before: what was chosen before the field was there; runs with this value keep their identity.
    """
    return dataclasses.field(default=default, metadata={"before": before})


class Data(Protocol):
    """What batches are drawn from; the same stream gives the same batch."""

    def batch(self, size: int, *stream: int | str) -> tuple[Any, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Config(ABC):
    """Everything that can change an experiment's result, but for the seed. Defaults are the paper's (appendix B).

    Attributes:
        batch: examples a step.
        weight_steps: steps of Adam on the weights.
        weight_lr: its rate.
        cooldown: the last proportion of these steps, over which the rate falls to zero; the paper has none.
        weight_precision: of the products in weight training: "float32", "bfloat16", or "auto" for what the machine does
            best.
        mask_steps: steps of Adam on the mask logits, in each stage.
        mask_lr: its rate.
        samples: K, mask samples a batch.
        beta: the penalty's strength, alpha = beta / batch.
        clip: the largest gradient norm, in both loops.
        clipped: the gradient of that norm in mask training: of "everything", as in the paper's code, or of the "logits"
            alone (see ``modules_lib.training.clipping``).
        start: every mask logit's first value.
        precision: of the products in mask training: "float32", "bfloat16", or "auto" for what the machine does best.
        sampler: of masks: "gumbel-sigmoid" (the paper's), "hard-concrete" or "straight-through".
    """

    batch: int = 128
    weight_steps: int = 20_000
    weight_lr: float = 1e-3
    cooldown: float = 0.0
    weight_precision: str = "float32"
    mask_steps: int = 20_000
    mask_lr: float = 1e-2
    samples: int = 4
    beta: float = 1e-4
    clip: float = 1.0
    clipped: str = choice("everything", before="logits")
    start: float = 2.0
    precision: str = "float32"
    sampler: str = "gumbel-sigmoid"

    def __post_init__(self) -> None:
        for name in ("batch", "weight_steps", "mask_steps", "samples"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        for name in ("weight_lr", "mask_lr", "clip"):
            check_number(name, getattr(self, name), "1e-3", above=True)
        check_number("start", self.start, "2.0", least=-math.inf)
        check_number("beta", self.beta, "1e-4 (beta = batch * alpha)")
        check_number("cooldown", self.cooldown, "0.3", below=1.0)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("weight_precision", self.weight_precision, PRECISIONS)
        check_choice("sampler", self.sampler, SAMPLERS)
        check_choice("gradient to clip", self.clipped, CLIPPED)
        check_slices(self.batch, self.samples)
        # 1 and 1.0 are one setting: one hash
        for name in ("weight_lr", "cooldown", "mask_lr", "clip", "start", "beta"):
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
        """The untrained network, from torch's global random state."""

    @abstractmethod
    def layers(self) -> dict[str, str]:
        """Masked parameter's name -> what a figure calls it, from input to output."""

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
        """A model trained on the whole task, and its training curve."""

    @property
    def apart(self) -> tuple[str, ...]:
        """The stages that are trained apart from the weights, beside one another."""
        return self.stages

    def needs(self, stage: str) -> tuple[str, ...]:
        """The stages whose masks another begins with, those that these need before them."""
        return ()

    @abstractmethod
    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """The masks of one stage, and their training curve.

        Args:
            model, seed: of the run.
            stage: one of ``stages``.
            progress: is told of every step.
            made: the masks of the stages that this one needs.
        """

    def asked(self, network: nn.Module) -> Rows:
        """Measure a network on every task: rows of ``task``, ``metric`` and ``value``. None where it is not said."""
        return []

    @abstractmethod
    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Everything that the figures and claims need."""

    def mask_training(self, seed: int, where: Where | None = None) -> MaskTraining:
        """How this config trains masks."""
        return MaskTraining(
            steps=self.mask_steps,
            lr=self.mask_lr,
            clip=self.clip,
            clipped=self.clipped,
            samples=self.samples,
            where=where,
            start=self.start,
            seed=seed,
            precision=self.precision,
            sampler=self.sampler,
        )

    def _train_weights(self, seed: int, data: Data, loss: Loss, progress: Progress) -> tuple[nn.Module, Rows]:
        """A network from its first weights, which follow from the seed, to its last, and its training curve."""

        def batch(step: int) -> tuple[Any, Any]:
            return data.batch(self.batch, seed, "weights", step)

        loop = progress.loop("weights", lambda step, loss: [_point("weights", step, "curve loss", loss)])
        with torch.random.fork_rng():  # the seed's own, for dropout too
            torch.manual_seed(seed)
            model = self.model().to(device())
            train_weights(
                model,
                batch,
                loss,
                steps=self.weight_steps,
                lr=self.weight_lr,
                clip=self.clip,
                cooldown=self.cooldown,
                precision=self.weight_precision,
                loop=loop,
            )
        return model, loop.rows

    def _train_masks(
        self,
        model: nn.Module,
        seed: int,
        stage: str,
        data: Data,
        loss: Loss,
        progress: Progress,
        where: Where | None = None,
    ) -> tuple[Masks, Rows]:
        """The masks of one stage, its training curve and the histogram of mask probabilities."""

        def batch(step: int) -> tuple[Any, Any]:
            return data.batch(self.batch, seed, stage, "data", step)

        training = self.mask_training(seed, where)
        masked = training.masked(model, stage)

        def point(step: int, loss: float) -> Rows:
            kept = _point(stage, step, "curve kept", masked.masks().kept())
            return [_point(stage, step, "curve loss", loss), kept]

        loop = progress.loop(f"masks-{stage}", point)
        for _ in training.of(masked, batch, loss, self.alpha, loop):
            pass
        drawn = sampled(model, masked, seed, self.asked) if stage == "full" else []
        return masked.masks(), loop.rows + histogram(masked, stage) + drawn

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

    def work(self) -> int:
        """The run's length in training steps."""
        return self.weight_steps + len(self.stages) * self.mask_steps

    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def before(cls) -> dict[str, Any]:
        """Settings that stored runs may lack, with the values that these runs were made with."""
        return {f.name: f.metadata["before"] for f in dataclasses.fields(cls) if "before" in f.metadata}

    def to_json(self) -> str:
        return json.dumps({"experiment": self.experiment, **self.fields()}, indent=1, sort_keys=True)

    def hash(self) -> str:
        """A run's identity: ten hexadecimal digits from the experiment and every setting that is not the usual one.

        Usual is the default, or what was done before there was such a setting: so old runs keep theirs.
        """
        usual = {f.name: f.metadata.get("before", f.default) for f in dataclasses.fields(self)}
        changed = {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        return hashlib.sha256(json.dumps([self.experiment, changed], sort_keys=True).encode()).hexdigest()[:10]


def with_inverses(masks: dict[str, Masks]) -> dict[str, Masks]:
    """The masks and, of every subtask's, the inverse: ``not add``."""
    return masks | {f"not {stage}": ~mask for stage, mask in masks.items() if stage != "full"}


def networks(model: Network, masks: dict[str, Masks]) -> Iterator[tuple[str, Network]]:
    """The model, as "unmasked", and then under each of the masks, one after another."""
    yield "unmasked", model
    for stage, mask in masks.items():
        yield stage, subnetwork(model, mask)


def _point(stage: str, step: int, metric: str, value: float) -> dict[str, object]:
    return {"stage": stage, "step": step, "metric": metric, "value": round(value, 5)}
