"""Two additions modulo 100, each with inputs and outputs of its own (section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.datasets.arithmetic import Arithmetic
from modules_lib.support import rng as noise

PAIRS = ("pair-1", "pair-2")
QUESTIONS = 10_000  # a pair of two-digit numbers
INPUTS = 2 * 40
OUTPUTS = 2 * 20


@dataclass(frozen=True)
class DoubleAddition:
    """Two additions: the pairs that a network is shown, and the places where their sums are read.

    A network is given presentations, [batch, P, 80], and answers each, [batch, P, 40]. A pair that is not shown has
    zeros for its one-hot digits.

    Attributes:
        shown: for each presentation, the pairs (0, 1) in it.
        read: for each sum that is asked for, the presentation whose answer holds it, and the pair.
        numbers: float32 [10000, 40]: one-hot digits of two numbers.
        sums: int64 [10000, 2]: tens and units of their sum modulo 100.
    """

    shown: tuple[tuple[int, ...], ...]
    read: tuple[tuple[int, int], ...]
    numbers: Tensor
    sums: Tensor

    @classmethod
    def of(
        cls, shown: tuple[tuple[int, ...], ...], read: tuple[tuple[int, int], ...], device: torch.device | str = "cpu"
    ) -> DoubleAddition:
        additions = Arithmetic.of("add", device=device)
        return cls(shown, read, additions.inputs[:, :40].contiguous(), additions.targets)

    def batch(self, size: int, *stream: int | str) -> tuple[Tensor, Tensor]:
        """Draw presentations [size, P, 80] and sums [size, R, 2] uniformly; the same stream gives the same batch."""
        keys = noise.keys(*stream, count=len(PAIRS), device=self.numbers.device)
        return self.ask(noise.integers(keys, size, QUESTIONS))

    def ask(self, questions: Tensor) -> tuple[Tensor, Tensor]:
        """Present questions, int64 [2, M] below 10,000, a row a pair: inputs [M, P, 80] and sums [M, R, 2]."""
        inputs = self.numbers.new_zeros((questions.shape[1], len(self.shown), len(PAIRS), 40))
        for i, pairs in enumerate(self.shown):
            for pair in pairs:
                inputs[:, i, pair] = self.numbers[questions[pair]]
        return inputs.flatten(2), torch.stack([self.sums[questions[pair]] for _, pair in self.read], 1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the scores of the digits that are asked for: [M, P, 40] -> [M, R, 2, 10]."""
        each = outputs.unflatten(-1, (len(PAIRS), 2, 10))  # [M, P, pair, 2, 10]
        return torch.stack([each[:, i, pair] for i, pair in self.read], 1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean cross-entropy over batch, sums and digits; outputs [M, P, 40], targets [M, R, 2]."""
        return F.cross_entropy(self.answers(outputs).reshape(-1, 10), targets.flatten())

    @torch.no_grad()
    def accuracies(self, model: nn.Module, part: int = 5000) -> list[float]:
        """Measure, for each sum that is asked for, how often it is right, over all 10,000 questions.

        Where both pairs are shown at once, each question of the one meets one question of the other, at random.
        """
        order = noise.uniforms(noise.keys("double addition", "test", count=1), QUESTIONS)[0].argsort()
        questions = torch.stack([torch.arange(QUESTIONS), order]).to(self.numbers.device)
        right = []
        for chosen in questions.split(part, 1):
            inputs, sums = self.ask(chosen)
            right.append((self.answers(model(inputs)).argmax(-1) == sums).all(-1))  # [part, R]
        return torch.cat(right).double().mean(0).tolist()
