"""The two training loops: weights first, then, with the weights frozen, masks (section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modules_lib.checks import check_count, check_number
from modules_lib.masked import MaskedModel
from modules_lib.optimizer import MaskAdam

Batch = Callable[[int], tuple[Any, Any]]  # step -> (inputs, targets); a pure function of the step
Loss = Callable[[Any, Any], Tensor]  # (outputs, targets) -> mean loss, a scalar
Point = Callable[[int, float], None]  # (step, loss), called a few times over the training
Tick = Callable[[int], object]  # called with the number of steps just made, as tqdm.update is

POINTS = 16  # how often a training curve is sampled


def train_weights(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    lr: float = 1e-3,
    clip: float = 1.0,
    point: Point | None = None,
    tick: Tick | None = None,
) -> nn.Module:
    """Train a model's weights with Adam on the whole task; returns it in evaluation mode."""
    check_count("steps", steps)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    for step in range(steps):
        inputs, targets = batch(step)
        data_loss = loss(model(inputs), targets)
        optimizer.zero_grad()
        data_loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        _report(step, steps, data_loss, point, tick)
    return model.eval()


def train_masks(
    masked: MaskedModel,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    alpha: float,
    lr: float = 1e-2,
    clip: float = 1.0,
    point: Point | None = None,
    tick: Tick | None = None,
) -> MaskedModel:
    """Train the mask logits on one subtask, one stage of the method; the weights stay frozen.

    Minimises loss + alpha * (sum of logits). The gradient's norm is clipped with the penalty included.

    Raises:
        ValueError: alpha is not a number of at least 0, or a batch is not divisible by the mask samples.
    """
    for step, data_loss in enumerate(mask_steps(masked, batch, loss, steps=steps, alpha=alpha, lr=lr, clip=clip)):
        _report(step, steps, data_loss, point, tick)
    return masked


def mask_steps(
    masked: MaskedModel, batch: Batch, loss: Loss, *, steps: int, alpha: float, lr: float = 1e-2, clip: float = 1.0
) -> Iterator[Tensor]:
    """:func:`train_masks` one step at a time, for a caller who wants to look in between; yields each step's loss."""
    check_number("alpha", alpha, "1e-6")
    check_count("steps", steps)
    optimizer = MaskAdam(masked, lr, alpha, clip)
    for step in range(steps):
        inputs, targets = batch(step)
        data_loss = loss(masked(inputs), targets)
        data_loss.backward()
        optimizer.step()
        yield data_loss.detach()


def _report(step: int, steps: int, data_loss: Tensor, point: Point | None, tick: Tick | None) -> None:
    if point and (step % max(1, steps // POINTS) == 0 or step == steps - 1):
        point(step + 1, data_loss.item())
    if tick:
        tick(1)
