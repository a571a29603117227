"""The milliseconds below which a step of mask training cannot go on this machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import Case, batch_of
from benchmarks.ordinary import timed
from modules_lib.datasets.scan import LONGEST_COMMAND
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.support.device import device


@functools.cache
def machine_rates(precision: str) -> tuple[float, float]:
    """Bytes a second of a copy, and operations a second of a product, as measured here."""
    block = torch.zeros(2**26, device=device())
    other = torch.empty_like(block)
    copy = min(timed(lambda: other.copy_(block)) for _ in range(15)) / 1e3
    square = torch.randn(2048, 2048, device=device(), dtype=getattr(torch, precision))
    product = min(timed(lambda: square @ square) for _ in range(15)) / 1e3
    return 2 * block.numel() * 4 / copy, 2 * 2048**3 / product


def floor(case: Case, precision: str) -> float:
    """Milliseconds that bytes and operations of a fast step take at least.

    A weight and its logit are read in the forward and in the backward pass, the gradient is written; the update reads
    gradient, logit and both moments and writes the last three. Masked weights and their K gradients need not leave the
    cache, and drawing the masks is not counted. Operations: three products a pass.
    """
    masked = MaskedModel(case.model(), case.samples)
    width = 2 if precision == "bfloat16" else 4
    bytes_each = 2 * (4 + width) + 4 + 4 * 4 + 3 * 4
    bandwidth, rate = machine_rates(precision)
    return 1e3 * (masked.logits.numel() * bytes_each / bandwidth + operations(case) / rate)


def operations(case: Case) -> float:
    """Operations of one training step over the whole batch, as PyTorch counts them; of commands, without padding."""
    inputs, targets, loss = batch_of(case)
    if case.data != "commands":
        return counted(case, inputs, targets, loss)
    first = torch.zeros(1, 1, dtype=torch.long, device=device())
    both = counted(case, first.expand(1, 2), first, loss, longest=(1, 1))
    word = counted(case, first.expand(1, 3), first, loss, longest=(2, 1)) - both
    words, tokens = (int((part >= 0).sum()) for part in (inputs[:, :LONGEST_COMMAND], targets))
    return word * words + (both - word) * tokens


def counted(case: Case, inputs: Tensor, targets: Tensor, loss: Callable, **settings: Any) -> float:
    model = (case.plain or case.model)().to(device())
    for name, value in settings.items():
        setattr(model, name, value)
    with FlopCounterMode(display=False) as counter:
        loss(model(inputs), targets).backward()
    return counter.get_total_flops()
