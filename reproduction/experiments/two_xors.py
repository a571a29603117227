"""A network small enough to watch: two independent exclusive-ors, four inputs, two outputs, one hidden layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.masks import Masks
from modules_lib.models.paper_networks import FNN
from modules_lib.training.loops import mask_steps, train_weights

# All 16 inputs with values -1 and 1, and both answers.
INPUTS = torch.tensor(list(product((-1.0, 1.0), repeat=4)))
TARGETS = torch.stack([INPUTS[:, 0] * INPUTS[:, 1] < 0, INPUTS[:, 2] * INPUTS[:, 3] < 0], 1).float()


@dataclass(frozen=True)
class Snapshot:
    """Two stages of mask training at one step.

    Attributes:
        step: steps made so far.
        weights: the frozen weights, by layer [outputs, inputs].
        probabilities: for each of the two tasks, every weight's probability to be kept, by layer.
        masks: for each of the two tasks, the thresholded masks.
    """

    step: int
    weights: list[Tensor]
    probabilities: list[list[Tensor]]
    masks: list[Masks]

    @property
    def title(self) -> str:
        """Two lines, as plotly writes them."""
        first, second = self.masks
        both = f"both {(first & second).count()} of {first.size()}"
        return f"step {self.step}<br>weights kept: first output {first.count()}, second {second.count()}, {both}"


def two_xors(seed: int = 0, hidden: int = 10, steps: int = 600) -> nn.Module:
    """Train a network for both tasks."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FNN(4, [hidden], 2, first_weights="xavier")
    return train_weights(
        model, lambda step: (INPUTS, TARGETS), F.binary_cross_entropy_with_logits, steps=steps, lr=1e-2
    )


def accuracy(model: nn.Module) -> list[float]:
    """Measure the share of the 16 inputs that each output gets right."""
    with torch.no_grad():
        return [float(share) for share in ((model(INPUTS) > 0) == (TARGETS > 0)).float().mean(0)]


def watch(
    model: nn.Module, steps: int = 1500, every: int = 75, alpha: float = 2e-4, seed: int = 0
) -> Iterator[Snapshot]:
    """Train a mask for each output alone, side by side, and yield a snapshot of both every few steps."""
    stages = [MaskedModel(model, samples=4, seed=seed, stage=f"output {i}") for i in range(2)]
    training = [_training(masked, i, steps, alpha) for i, masked in enumerate(stages)]
    yield _snapshot(model, stages, 0)
    for step, _ in enumerate(zip(*training, strict=True), 1):
        if step % every == 0 or step == steps:
            yield _snapshot(model, stages, step)


def _training(masked: MaskedModel, output: int, steps: int, alpha: float) -> Iterator[Tensor]:
    inputs, targets = (
        INPUTS.repeat(masked.samples, 1),
        TARGETS[:, output].repeat(masked.samples),
    )  # all 16 for each mask

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs[:, output], targets)

    return mask_steps(masked, lambda step: (inputs, targets), loss, steps=steps, alpha=alpha, lr=3e-2)


def _snapshot(model: nn.Module, stages: list[MaskedModel], step: int) -> Snapshot:
    return Snapshot(
        step=step,
        weights=[parameter.detach() for name, parameter in model.named_parameters() if "weight" in name],
        probabilities=[[p.clone() for p in masked.probabilities().values()] for masked in stages],
        masks=[masked.masks() for masked in stages],
    )
