"""Two-digit arithmetic modulo 100 with one-hot digits (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from modules_lib.support import rng as noise
from modules_lib.support.checks import check_choice

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"add": torch.add, "mul": torch.mul}
INPUTS = 4 * 10 + len(OPERATIONS)  # two digits of two numbers, and the operation
OUTPUTS = 2 * 10


def digits(numbers: Tensor) -> Tensor:
    """Split numbers below 100 into tens and units: [...] -> [..., 2]."""
    return torch.stack([numbers // 10, numbers % 10], -1)


@dataclass(frozen=True)
class Arithmetic:
    """Every input of the chosen operations, and its result; there are 10,000 of each operation.

    Attributes:
        inputs: float32 [M, 42]: one-hot tens and units of both numbers, one-hot operation.
        targets: int64 [M, 2]: tens and units of the result modulo 100.
        sums, products: int64 [M]: both possible results modulo 100, whichever was asked for.
    """

    inputs: Tensor
    targets: Tensor
    sums: Tensor
    products: Tensor

    @classmethod
    def of(cls, *operations: str, device: torch.device | str = "cpu") -> Arithmetic:
        """Take the inputs that ask for one of these operations (``"add"``, ``"mul"``)."""
        for operation in operations:
            check_choice("operation", operation, OPERATIONS)
        a, b = (n.flatten() for n in torch.meshgrid(torch.arange(100), torch.arange(100), indexing="ij"))
        numbers = F.one_hot(torch.cat([digits(a), digits(b)], -1), 10).flatten(1)  # [10000, 40]
        asked = {name: F.one_hot(torch.tensor(i), len(OPERATIONS)) for i, name in enumerate(OPERATIONS)}
        inputs = [torch.cat([numbers, asked[name].expand(len(a), -1)], -1) for name in operations]
        results = {name: OPERATIONS[name](a, b) % 100 for name in OPERATIONS}
        repeats = len(operations)
        return cls(
            inputs=torch.cat(inputs).float().to(device),
            targets=torch.cat([digits(results[name]) for name in operations]).to(device),
            sums=results["add"].repeat(repeats).to(device),
            products=results["mul"].repeat(repeats).to(device),
        )

    def batch(self, size: int, *stream: int | str) -> tuple[Tensor, Tensor]:
        """Draw inputs [size, 42] and targets [size, 2] uniformly; the same stream gives the same batch."""
        keys = noise.keys(*stream, count=1, device=self.inputs.device)
        rows = noise.integers(keys, size, len(self.inputs))[0]  # [size]
        return self.inputs[rows], self.targets[rows]


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the mean cross-entropy over batch and digits; outputs [batch, 20], targets [batch, 2]."""
    return F.cross_entropy(outputs.view(-1, 10), targets.flatten())


@torch.no_grad()
def predictions(model: torch.nn.Module, inputs: Tensor, batch: int = 5000) -> Tensor:
    """Return the numbers that the model writes: [M, 42] -> int64 [M]."""
    answers = torch.cat([model(part).view(-1, 2, 10).argmax(-1) for part in inputs.split(batch)])  # [M, 2]
    return answers[:, 0] * 10 + answers[:, 1]


def outcomes(model: torch.nn.Module, data: Arithmetic) -> dict[str, float]:
    """Count the model's answers to these inputs by their kind, as proportions.

    Returns:
        ``add`` and ``mul``: the answer is the sum, the product (both where the two coincide); ``none``: neither;
        ``correct``: it is the result that was asked for.
    """
    answer = predictions(model, data.inputs)
    is_sum, is_product = answer == data.sums, answer == data.products
    correct = answer == data.targets[:, 0] * 10 + data.targets[:, 1]
    each = {"add": is_sum, "mul": is_product, "none": ~(is_sum | is_product), "correct": correct}
    return {name: float(hits.double().mean()) for name, hits in each.items()}
