"""The config of an experiment whose masks are learned over frozen weights: two training loops and their records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from modules_lib.masking.masks import Masks
from modules_lib.masking.samplers import SAMPLERS
from modules_lib.masking.selection import Where
from modules_lib.masking.subnetworks import Network, subnetwork
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.device import device
from modules_lib.support.precision import PRECISIONS
from modules_lib.training.clipping import CLIPPED
from modules_lib.training.loops import Loss, train_weights
from modules_lib.training.mask_training import MaskTraining, Settings
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.config import Config, choice
from reproduction.protocol.trained_masks import histogram, sampled


class Data(Protocol):
    """A source of batches; the same stream gives the same batch."""

    def batch(self, size: int, *stream: int | str) -> tuple[Any, Any]: ...


@dataclass(frozen=True, kw_only=True)
class FrozenConfig(Config):
    """Everything that decides the result of training weights, freezing them, and learning masks in stages.

    Attributes:
        weight_precision: of the products in weight training: "float32", "bfloat16", or "auto" for what the machine does
            best.
        mask_steps: steps of Adam on the mask logits, in each stage.
        clipped: the gradient whose norm is clipped in mask training: of "everything", as in the paper's code, or of the
            "logits" alone (see ``modules_lib.training.clipping``).
        start: every mask logit's first value.
        precision: of the products in mask training: "float32", "bfloat16", or "auto" for what the machine does best.
        sampler: of masks: "gumbel-sigmoid" (the paper's), "hard-concrete" or "straight-through".
    """

    weight_precision: str = "float32"
    mask_steps: int = 20_000
    clipped: str = choice("everything", before="logits")
    start: float = 2.0
    precision: str = "float32"
    sampler: str = "gumbel-sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mask_steps", check_count("mask_steps", self.mask_steps))
        object.__setattr__(self, "start", check_number("start", self.start, "2.0", least=-math.inf))
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("weight_precision", self.weight_precision, PRECISIONS)
        check_choice("sampler", self.sampler, SAMPLERS)
        check_choice("gradient to clip", self.clipped, CLIPPED)

    def work(self) -> int:
        """Count the run's training steps."""
        return self.weight_steps + len(self.stages) * self.mask_steps

    def mask_training(self, seed: int, where: Where | None = None) -> MaskTraining:
        """Collect the settings of mask training."""
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

    def _train_weights(
        self,
        seed: int,
        data: Data,
        loss: Loss,
        progress: Progress,
        model: Callable[[], nn.Module] | None = None,
        name: str = "weights",
    ) -> tuple[nn.Module, Rows]:
        """A network from its first weights, which follow from the seed, to its last, and its training curve.

        ``model`` makes another network than the config's, whose training then has a name of its own.
        """

        def batch(step: int) -> tuple[Any, Any]:
            return data.batch(self.batch, seed, name, step)

        loop = progress.loop(name, lambda step, loss: [_point(name, step, "curve loss", loss)])
        with torch.random.fork_rng():  # the seed's own, for dropout too
            torch.manual_seed(seed)
            network = (model or self.model)().to(device())
            train_weights(
                network,
                batch,
                loss,
                steps=self.weight_steps,
                lr=self.weight_lr,
                clip=self.clip,
                cooldown=self.cooldown,
                precision=self.weight_precision,
                loop=loop,
            )
        return network, loop.rows

    def _train_masks(
        self,
        model: nn.Module,
        seed: int,
        stage: str,
        data: Data,
        loss: Loss,
        progress: Progress,
        where: Where | None = None,
        more: Settings | None = None,
    ) -> tuple[Masks, Rows]:
        """The masks of one stage, its training curve and the histogram of mask probabilities.

        ``more`` are settings of mask training that the config does not have.
        """

        def batch(step: int) -> tuple[Any, Any]:
            return data.batch(self.batch, seed, stage, "data", step)

        training = self.mask_training(seed, where).changed(more or {})
        masked = training.masked(model, stage)

        def point(step: int, loss: float) -> Rows:
            kept = _point(stage, step, "curve kept", masked.masks().kept())
            return [_point(stage, step, "curve loss", loss), kept]

        loop = progress.loop(f"masks-{stage}", point)
        for _ in training.of(masked, batch, loss, self.alpha, loop):
            pass
        drawn = sampled(model, masked, seed, self.asked) if stage == "full" else []
        return masked.masks(), loop.rows + histogram(masked, stage) + drawn


def with_inverses(masks: dict[str, Masks]) -> dict[str, Masks]:
    """Add to the masks the inverse of every subtask's: ``not add``."""
    return masks | {f"not {stage}": ~mask for stage, mask in masks.items() if stage != "full"}


def networks(model: Network, masks: dict[str, Masks]) -> Iterator[tuple[str, Network]]:
    """Yield the model, as "unmasked", and then under each of the masks, one after another."""
    yield "unmasked", model
    for stage, mask in masks.items():
        yield stage, subnetwork(model, mask)


def _point(stage: str, step: int, metric: str, value: float) -> dict[str, object]:
    return {"stage": stage, "step": step, "metric": metric, "value": round(value, 5)}
