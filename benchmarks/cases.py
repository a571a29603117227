"""The models that the bench times, and their batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain import CellEncoderDecoder, CellLSTM
from modules_lib.datasets import arithmetic, scan
from modules_lib.datasets.scan import ACTIONS, END, LONGEST_COMMAND, WORDS, Scan, commands
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import CNN, FNN, RepeatLSTM
from modules_lib.support.device import device

BATCH = 128


@dataclass(frozen=True)
class Case:
    """A model to time: how to make it, what it sees, and how to make the plain one where that differs.

    Attributes:
        data: "numbers", "images" or "commands"; of commands, a step with teacher forcing and one without make two.
        samples: K; with one mask sample the plain step is the hard-concrete one.
    """

    name: str
    model: Callable[[], nn.Module]
    data: str = "numbers"
    plain: Callable[[], nn.Module] | None = None
    samples: int = 4

    @property
    def steps(self) -> int:
        return 2 if self.data == "commands" else 1


CASES = [
    Case("FNN 4 x 2000", lambda: FNN(42, [2000] * 4, 20)),
    Case("FNN 4 x 800", lambda: FNN(42, [800] * 4, 20)),
    Case("FNN 400-400-200", lambda: FNN(42, [400, 400, 200], 20)),
    Case("LSTM 2 x 256, 3 steps", lambda: RepeatLSTM(42, 256, 20), plain=lambda: CellLSTM(42, 256, 20)),
    Case("Table 1 CNN", CNN, data="images"),
    Case(
        "SCAN encoder-decoder",
        lambda: EncoderDecoder(len(WORDS), len(ACTIONS) + 1, END),
        data="commands",
        plain=lambda: CellEncoderDecoder(len(WORDS), len(ACTIONS) + 1, END),
    ),
    Case("FNN 4 x 2000, K = 1", lambda: FNN(42, [2000] * 4, 20), samples=1),
    Case("FNN 4 x 800, K = 1", lambda: FNN(42, [800] * 4, 20), samples=1),
]


def batch_of(case: Case) -> tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]:
    """Inputs, targets and loss. Commands are int64 [256, words + answer], of real lengths; see :func:`pieces`."""
    if case.data == "images":
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(BATCH, 3, 32, 32, generator=generator)
        labels = torch.randint(0, 10, (BATCH,), generator=generator)
        return images.to(device()), labels.to(device()), F.cross_entropy
    if case.data == "commands":
        (words, answers, _), _ = Scan.of(commands(), device()).batch(2 * BATCH, "bench")
        return torch.cat([words, answers], 1), answers, scan.loss
    data = arithmetic.Arithmetic.of("add", "mul", device=device())
    return *data.batch(BATCH, "bench"), arithmetic.loss


def given(case: Case, inputs: Tensor, step: int) -> Any:
    """What the library's model is given in a step; every second time without teacher forcing."""
    if case.data != "commands":
        return inputs
    return inputs[:, :LONGEST_COMMAND], inputs[:, LONGEST_COMMAND:], step % 2 == 0
