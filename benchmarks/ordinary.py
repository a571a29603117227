"""An ordinary step of training, to compare with, and a watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modules_lib.support.device import device


def ordinary_step(
    model: nn.Module, compute: torch.dtype | None, batch: Callable[[], tuple[Any, Tensor]], loss: Callable
) -> Callable[[], object]:
    """A function that makes one step of training the model's weights: autocast for bfloat16, fused Adam."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        seen, targets = batch()
        with torch.autocast(device().type, compute, enabled=compute is not None):
            outputs = model(*seen) if isinstance(seen, tuple) else model(seen)
        loss(outputs.float(), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def timed(function: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    function()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began)
