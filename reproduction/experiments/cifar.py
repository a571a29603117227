"""Weights that serve one class alone, in a CNN on CIFAR-10 (section 5, appendix G).

Stages: all classes, the reference; all classes again, a control that shows what noise does; then all but one class.
Weights that the reference keeps and such a stage removes served the class that was left out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from modules_lib.datasets.generated import generated
from modules_lib.datasets.images import CLASSES, Images, cifar10, label_of
from modules_lib.masking.masks import Masks
from modules_lib.masking.selection import Where
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import CNN
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.config import IMAGES, Config, choice
from reproduction.protocol.frozen_config import FrozenConfig, networks
from reproduction.protocol.stage import stage_with

CLASSIFIER = "classifier."
RELEASED = 3.0  # times the paper's beta, in the released code
CONTROLS = ("full", "again")  # trained on all classes
NETWORKS = {"table-1": "CNN of Table 1", "no-dropout": "CNN without dropout", "resnet": "ResNet"}


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(FrozenConfig):
    """The config of Table 1's CNN, or another, on CIFAR-10.

    Attributes:
        network: "table-1", "no-dropout" for the same without dropout, or "resnet" for that of eight layers (He et al.,
            2016, section 4.2). The paper has the first.
        mask_lr: the paper's rate here is a tenth of that of the other experiments.
        removed: the classes that are left out, each in a stage of its own.
        factors: the betas, as multiples of ``beta``; the released code has three times the paper's.
        tested: test images, of 10,000.
        images: "official", CIFAR-10's files; or "generated", which need none and show only that everything runs.
    """

    network: str = choice("table-1", before="table-1")
    mask_lr: float = 1e-3
    removed: tuple[str, ...] = CLASSES
    factors: tuple[float, ...] = (1.0,)
    tested: int = 10_000
    images: str = "official"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("network", self.network, NETWORKS)
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
    def presets(cls, network: str = "table-1") -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        own: dict[str, Any] = cls.before() | {"network": network}
        few: dict[str, Any] = {"removed": ("airplane", "cat", "truck")}
        return {
            "smoke": cls(
                **own,
                batch=32,
                weight_steps=40,
                mask_steps=10,
                mask_lr=0.05,
                removed=("airplane", "cat"),
                tested=500,
                images="generated",
            ),
            "laptop": cls(
                **own,
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
            "paper": cls(precision="auto", network=network),
        }

    @property
    def experiment(self) -> str:
        return "cifar10" if self.network == "table-1" else f"cifar10-{self.network}"

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
        if self.network == "resnet":
            return resnet(len(CLASSES))
        return CNN(len(CLASSES)) if self.network == "table-1" else CNN(len(CLASSES), dropout=(0.0,) * 4)

    def layers(self) -> dict[str, str]:
        if self.network == "resnet":
            with torch.device("meta"):
                sizes = {name: parameter.dim() for name, parameter in self.model().named_parameters()}
            return {name: name.removesuffix(".weight") for name, size in sizes.items() if size > 1}
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


def resnet(classes: int, widths: Sequence[int] = (16, 32, 64)) -> nn.Module:
    """Make the residual network of He et al. (2016, section 4.2) with one block at each width, eight layers in all.

    Where the width changes, the shortcut is a convolution of 1 x 1, with normalisation.
    """
    first = {"conv": nn.Conv2d(3, widths[0], 3, padding=1, bias=False), "norm": nn.BatchNorm2d(widths[0])}
    parts: dict[str, nn.Module] = {**first, "relu": nn.ReLU()}
    for i, (a, b) in enumerate(zip([widths[0], *widths[:-1]], widths, strict=True)):
        shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride=2, bias=False), nn.BatchNorm2d(b)) if a != b else None
        parts[f"block {i + 1}"] = BasicBlock(a, b, stride=1 if a == b else 2, downsample=shortcut)
    ends = {"average": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "classifier": nn.Linear(widths[-1], classes)}
    return nn.Sequential(OrderedDict(parts | ends))


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
