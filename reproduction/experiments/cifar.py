"""Weights that serve one class alone, in a CNN on CIFAR-10 (section 5, appendix G).

Stages: all classes, the reference; all classes again, a control that shows what noise does; then all but one class.
Weights that the reference keeps and such a stage removes served the class that was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.datasets.generated import generated
from modules_lib.datasets.images import CLASSES, Images, cifar10, label_of
from modules_lib.masking.masks import Masks
from modules_lib.masking.selection import Where
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import CNN
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.config import IMAGES, Config
from reproduction.protocol.frozen_config import FrozenConfig, networks
from reproduction.protocol.stage import stage_with

CLASSIFIER = "classifier."
RELEASED = 3.0  # times the paper's beta, in the released code
CONTROLS = ("full", "again")  # trained on all classes


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(FrozenConfig):
    """The config of Table 1's CNN on CIFAR-10.

    Attributes:
        mask_lr: the paper's rate here is a tenth of that of the other experiments.
        removed: the classes that are left out, each in a stage of its own.
        factors: the betas, as multiples of ``beta``; the released code has three times the paper's.
        tested: test images, of 10,000.
        images: "official", CIFAR-10's files; or "generated", which need none and show only that everything runs.
    """

    mask_lr: float = 1e-3
    removed: tuple[str, ...] = CLASSES
    factors: tuple[float, ...] = (1.0,)
    tested: int = 10_000
    images: str = "official"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, example in (("removed", "['airplane', 'cat']"), ("factors", "[1, 3]")):
            values = getattr(self, name)
            values = tuple(values) if isinstance(values, tuple | list) else ()
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it must list at least one value, each once, as {example} does."
                )
            object.__setattr__(self, name, values)
        for name in self.removed:
            label_of(name)
        check_count("tested", self.tested)
        check_choice("source of the images", self.images, IMAGES)
        factors = tuple(check_number("a factor", factor, "3", above=True) for factor in self.factors)
        object.__setattr__(self, "factors", factors)
        if len(set(self.stages)) < len(self.stages):
            raise ValueError(f"factors is {factors!r}; they must differ in their first three digits.")

    @classmethod
    def presets(cls) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        few: dict[str, Any] = {"removed": ("airplane", "cat", "truck")}
        return {
            "smoke": cls(
                **cls.before(),
                batch=32,
                weight_steps=40,
                mask_steps=10,
                mask_lr=0.05,
                removed=("airplane", "cat"),
                tested=500,
                images="generated",
            ),
            "laptop": cls(
                **cls.before(),
                batch=64,
                weight_steps=2000,
                weight_lr=1.5e-3,
                cooldown=0.6,
                weight_precision="auto",
                mask_steps=1000,
                mask_lr=0.03,
                precision="auto",
                **few,
            ),
            "paper": cls(precision="auto"),
        }

    @property
    def experiment(self) -> str:
        return "cifar10"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage_with(stage, factor) for factor in self.factors for stage in (*CONTROLS, *self.removed))

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return ()

    def needs(self, stage: str) -> tuple[str, ...]:
        """Name the reference, whose mask of the classifier all other stages have."""
        name, factor = self._asked(stage)
        return () if name == "full" else (stage_with("full", factor),)

    def model(self) -> nn.Module:
        return CNN(len(CLASSES))

    def layers(self) -> dict[str, str]:
        return {f"convolutions.{i}.weight": f"conv {i + 1}" for i in range(4)} | {"classifier.weight": "classifier"}

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        return self._train_weights(seed, self.data("train"), F.cross_entropy, progress)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Find a stage's masks, biases included; stages after the reference have its classifier, masked and frozen."""
        name, factor = self._asked(stage)
        config = replace(self, beta=factor * self.beta)
        data = self.data("train")
        if name == "full":
            return config._train_masks(model, seed, stage, data, F.cross_entropy, progress, where=lambda _: True)
        [reference] = self.needs(stage)
        classifier = _classifier((made or {})[reference])
        model = subnetwork(model, classifier)
        if name not in CONTROLS:
            data = data.without(label_of(name))
        where: Where = lambda parameter: not parameter.startswith(CLASSIFIER)  # noqa: E731
        masks, rows = config._train_masks(model, seed, stage, data, F.cross_entropy, progress, where=where)
        return Masks({**masks, **classifier}), rows

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure confusions on the test images, and count the weights that each stage removes from its reference."""
        data, rows = self.test_images(), []
        for stage, network in networks(model, masks):
            predicted = predictions(network, data)
            right = float((predicted == data.labels).double().mean())
            rows.append({"stage": stage, "task": "images", "metric": "correct", "value": right})
            rows += confusion_rows(stage, data.labels, predicted)
        for stage, mask in masks.items():
            for reference in self.needs(stage):
                alone = masks[reference] & ~mask
                for name, layer in [*self.layers().items(), (None, "total")]:
                    rows.append({"stage": stage, "layer": layer, "metric": "removed", "value": alone.count(name)})
        return rows + self._counts(masks)

    def test_images(self) -> Images:
        return self.data("test").first(self.tested)

    def data(self, part: str) -> Images:
        """Load the training or the test images."""
        return generated(part, device=device()) if self.images == "generated" else cifar10(part, device())

    @property
    def source(self) -> str:
        return IMAGES[self.images]

    def _asked(self, stage: str) -> tuple[str, float]:
        """The class that a stage leaves out, "full" or "again", and its factor.

        Raises:
            ValueError: there is no such stage.
        """
        known = {stage_with(name, f): (name, f) for f in self.factors for name in (*CONTROLS, *self.removed)}
        return known[check_choice("stage", stage, known)]


def _classifier(masks: Masks) -> Masks:
    return Masks({name: mask for name, mask in masks.items() if name.startswith(CLASSIFIER)})


@torch.no_grad()
def predictions(model: nn.Module, data: Images, batch: int = 500) -> Tensor:
    """Find the class that the model takes each image for: int64 [M]."""
    rows = torch.arange(len(data.images), device=data.images.device)
    return torch.cat([model(data.normalised(part)).argmax(-1) for part in rows.split(batch)])


def confusion(labels: Tensor, predicted: Tensor) -> np.ndarray:
    """Compute the part of each class's images that is taken for each class: [class, taken for]."""
    counts = np.zeros((len(CLASSES), len(CLASSES)))
    np.add.at(counts, (labels.cpu().numpy(), predicted.cpu().numpy()), 1)
    return counts / counts.sum(1, keepdims=True).clip(min=1)


def confusion_rows(stage: str, labels: Tensor, predicted: Tensor) -> Rows:
    """Write :func:`confusion` as rows, where it is not zero: class (``task``) by class taken for (``predicted``)."""
    parts = confusion(labels, predicted)
    return [
        {
            "stage": stage,
            "task": CLASSES[i],
            "metric": "confusion",
            "predicted": CLASSES[j],
            "value": round(parts[i, j], 6),
        }
        for i, j in np.argwhere(parts)
    ]
