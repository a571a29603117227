"""Tasks that differ only in the order of their pixels (appendix E): are learned weights used again?

One network learns one permutation of MNIST after another, weights and masks together. A task's weights are then frozen.
Stages: the permutations, in the order of learning."""

from __future__ import annotations

import functools
import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.datasets.generated import generated
from modules_lib.datasets.images import Images, mnist
from modules_lib.masking.masks import Masks
from modules_lib.masking.samplers import GumbelSigmoid, worth_compiling
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import FNN
from modules_lib.support import rng as noise
from modules_lib.support.checks import check_choice, check_count
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.continual_learning import learn, nothing_used
from reproduction.protocol.arithmetic_config import check_hidden
from reproduction.protocol.config import IMAGES, Config

VARIANTS = {"equal": 2.0, "half": 0.0, "quarter": -1.0}  # the first mask logits of free weights; of used ones 2
USED = 2.0  # the first mask logits of used weights
SHAPE = (1, 28, 28)
PIXELS = 28 * 28


class ContinualFNN(FNN):
    """The network, and the masks of the tasks that it has learned."""

    def __init__(self, hidden: tuple[int, ...]):
        super().__init__(
            PIXELS, hidden, 10, first_weights="xavier"
        )  # as in the released code, in this experiment alone
        self.learned: dict[str, Masks] = {}


@dataclass(frozen=True)
class Permuted:
    """Images with their pixels in another order, as flat vectors for the network."""

    data: Images
    order: Tensor

    @classmethod
    def of(cls, data: Images, seed: int, task: int) -> Permuted:
        """Draw the task's permutation; that of the first leaves the pixels where they are."""
        draw = noise.uniforms(noise.keys(seed, "permutation", task, count=1), PIXELS)[0]
        order = draw.argsort(stable=True) if task else torch.arange(PIXELS)
        return cls(data, order.to(data.images.device))

    def batch(self, size: int, *stream: int | str) -> tuple[Tensor, Tensor]:
        """Draw images [size, 784] and labels [size] uniformly; the same stream gives the same batch."""
        inputs, labels = self.data.batch(size, *stream)
        return inputs.flatten(1)[:, self.order], labels

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> Tensor:
        """Run the model on every image: [M, 10]."""
        rows = torch.arange(len(self.data.images)).split(1000)
        return torch.cat([model(self.data.normalised(part).flatten(1)[:, self.order]) for part in rows])


@dataclass(frozen=True, kw_only=True)
class PermutedMNIST(Config):
    """The config of the continual learning of permuted MNIST.

    Attributes:
        weight_steps: steps of each task, in which weights and masks are learned together.
        cooldown: of both rates.
        mask_lr: the rate of the mask logits, which are learned in the weights' steps; in the paper, the weights' rate.
        samples: the paper has eight here.
        variant: the first mask logits of free weights: "equal" to those of used ones (2), "half" (0) or "quarter" (-1).
        tasks: permutations.
        hidden: units of the hidden layers.
        images: "official", MNIST's files; or "generated", which need none and show only that everything runs.
    """

    weight_steps: int = 30_000
    weight_lr: float = 1e-2
    samples: int = 8
    beta: float = 1.28e-3
    variant: str = "equal"
    tasks: int = 10
    hidden: tuple[int, ...] = field(default=(800, 800, 64))
    images: str = "official"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("tasks (permutations)", self.tasks)
        check_choice("variant", self.variant, VARIANTS)
        check_choice("source of the images", self.images, IMAGES)
        object.__setattr__(self, "hidden", check_hidden(self.hidden))

    @classmethod
    def presets(cls, variant: str) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        return {
            "smoke": cls(variant=variant, tasks=3, weight_steps=15, hidden=(40, 40, 16), images="generated"),
            "laptop": cls(variant=variant, tasks=2, weight_steps=700, weight_lr=2e-3, cooldown=0.3, mask_lr=5e-2),
            "paper": cls(variant=variant),
        }

    @property
    def experiment(self) -> str:
        return f"permuted-{self.variant}"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"task-{i + 1}" for i in range(self.tasks))

    @property
    def apart(self) -> tuple[str, ...]:
        return ()  # each task begins with the weights of the one before

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return ()  # with those before, in :meth:`train`

    def work(self) -> int:
        return self.tasks * self.weight_steps

    def model(self) -> nn.Module:
        return ContinualFNN(self.hidden)

    def layers(self) -> dict[str, str]:
        between = [f"hidden {i}" for i in range(1, len(self.hidden))]
        return {f"layers.{i}.weight": label for i, label in enumerate(["input", *between, "output"])}

    def data(self, part: str) -> Images:
        """Load the training or the test images, before any permutation."""
        return generated(part, SHAPE, device()) if self.images == "generated" else mnist(part, device())

    @property
    def source(self) -> str:
        return IMAGES[self.images]

    def needs(self, stage: str) -> tuple[str, ...]:
        """Name the tasks that are learned before this one."""
        return self.stages[: self.stages.index(check_choice("stage", stage, self.stages))]

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        """Learn all tasks, one after another; after each, all that are learned are tested with their own masks."""
        model = ContinualFNN(self.hidden).to(device()).eval()
        return model, [row for stage in self.stages for row in self._learn_next(model, seed, stage, progress)]

    def _learn_next(self, model: ContinualFNN, seed: int, stage: str, progress: Progress) -> Rows:
        """Learn one more task; its curve, its use of weights, and the accuracy of all tasks so far."""
        train, test = self.data("train"), self.data("test")
        used = functools.reduce(operator.or_, model.learned.values(), nothing_used(model))
        task = len(model.learned)
        mask, curve = self._learn(model, used, seed, stage, Permuted.of(train, seed, task), progress)
        model.learned[stage] = mask
        tests = [Permuted.of(test, seed, i) for i in range(task + 1)]
        return curve + self._use(stage, mask, used) + self._tested(stage, model, tests)

    def _learn(
        self, model: nn.Module, used: Masks, seed: int, stage: str, data: Permuted, progress: Progress
    ) -> tuple[Masks, Rows]:
        def batch(step: int) -> tuple[Tensor, Tensor]:
            return data.batch(self.batch, seed, stage, "data", step)

        def point(step: int, loss: float) -> Rows:
            return [{"stage": stage, "step": step, "metric": "curve loss", "value": round(loss, 5)}]

        loop = progress.loop(stage, point)
        mask = learn(
            model,
            used,
            batch,
            F.cross_entropy,
            steps=self.weight_steps,
            alpha=self.alpha,
            fresh=VARIANTS[self.variant] if used.count() else USED,  # at first there are no old ones to favour
            seed=seed,
            stage=stage,
            samples=self.samples,
            lr=self.weight_lr,
            mask_lr=self.mask_lr,
            clip=self.clip,
            cooldown=self.cooldown,
            old=USED,
            fuse=worth_compiling(GumbelSigmoid, model.parameters(), self.samples, self.work()),
            loop=loop,
        )
        return mask, loop.rows

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Return the masks of a stage, which were learned along with the weights.

        A network that has not learned the stage, as one that was stored, learns it now, on the weights of ``made``.
        """
        assert isinstance(model, ContinualFNN)
        rows: Rows = []
        if stage not in model.learned:
            model.learned = {need: (made or {})[need] for need in self.needs(stage)}
            rows = self._learn_next(model, seed, stage, progress)
        return model.learned[stage], rows

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        return self._counts(masks)

    def _use(self, stage: str, mask: Masks, used: Masks) -> Rows:
        """By layer and in total: the part of a task's weights in use before, and how full the layer is after."""
        rows: Rows = []
        for name, layer in [*self.layers().items(), (None, "total")]:
            shared = (mask & used).count(name) / mask.count(name) if mask.count(name) else float("nan")
            for metric, value in (("sharing", shared), ("full", (mask | used).kept(name))):
                rows.append({"stage": stage, "layer": layer, "metric": metric, "value": round(value, 6)})
        return rows

    def _tested(self, stage: str, model: ContinualFNN, tests: list[Permuted]) -> Rows:
        """Accuracy of every task so far, and a number that changes if one bit of its outputs does."""
        rows: Rows = []
        for data, (task, mask) in zip(tests, model.learned.items(), strict=True):
            outputs = data.outputs(subnetwork(model, mask))  # [M, 10]
            right = float((outputs.argmax(-1) == data.data.labels).double().mean())
            digest = int(hashlib.sha256(outputs.cpu().numpy().tobytes()).hexdigest()[:12], 16)
            for metric, value in (("correct", right), ("digest", digest)):
                rows.append({"stage": stage, "task": task, "metric": metric, "value": value})
        return rows
