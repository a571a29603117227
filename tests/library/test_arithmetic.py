"""The arithmetic data: every input once, encoded as the paper says, and its exact evaluation."""

import pytest
import torch
from torch import nn

from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import Arithmetic


def decode(inputs):
    d = inputs[:, :40].view(-1, 4, 10).argmax(-1)
    return d[:, 0] * 10 + d[:, 1], d[:, 2] * 10 + d[:, 3], inputs[:, 40:].argmax(-1)


def test_every_input_occurs_once_with_the_right_answer():
    data = Arithmetic.of("add", "mul")
    assert data.inputs.shape == (20_000, 42) and data.targets.shape == (20_000, 2)
    assert torch.all(data.inputs.view(20_000, 42).sum(-1) == 5) and len(data.inputs.unique(dim=0)) == 20_000
    a, b, operation = decode(data.inputs)
    expected = torch.where(operation == 0, a + b, a * b) % 100
    assert torch.equal(data.targets[:, 0] * 10 + data.targets[:, 1], expected)
    assert torch.equal(data.sums, (a + b) % 100) and torch.equal(data.products, (a * b) % 100)


def test_one_operation_asks_only_for_itself():
    for index, name in enumerate(arithmetic.OPERATIONS):
        data = Arithmetic.of(name)
        assert len(data.inputs) == 10_000 and torch.all(decode(data.inputs)[2] == index)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="Unknown operation 'sub'; it must be one of add, mul"):
        Arithmetic.of("sub")


def test_batches_follow_from_their_stream_and_are_uniform():
    data = Arithmetic.of("add", "mul")
    x, y = data.batch(64, 0, "weights", 5)
    assert torch.equal(x, data.batch(64, 0, "weights", 5)[0])
    assert not torch.equal(x, data.batch(64, 0, "weights", 6)[0])
    assert not torch.equal(x, data.batch(64, 1, "weights", 5)[0])
    a, b, operation = decode(data.batch(200_000, "many")[0])
    # Five standard errors: exceeded with probability 6e-7 each; the streams are fixed.
    assert abs(float(operation.double().mean()) - 0.5) < 5 * 0.5 / 200_000**0.5
    for n in (a, b):
        assert abs(float(n.double().mean()) - 49.5) < 5 * 28.87 / 200_000**0.5


class Answers(nn.Module):
    """Gives the sum, whatever is asked."""

    def forward(self, x):
        a, b, _ = decode(x)
        total = (a + b) % 100
        return torch.cat([nn.functional.one_hot(d, 10) for d in (total // 10, total % 10)], -1).float()


def test_outcomes_of_a_network_that_always_adds():
    adding = arithmetic.outcomes(Answers(), Arithmetic.of("add"))
    multiplying = arithmetic.outcomes(Answers(), Arithmetic.of("mul"))
    coincide = sum((a + b) % 100 == (a * b) % 100 for a in range(100) for b in range(100)) / 10_000
    assert adding == pytest.approx({"add": 1.0, "mul": coincide, "none": 0.0, "correct": 1.0})
    assert multiplying == pytest.approx({"add": 1.0, "mul": coincide, "none": 0.0, "correct": coincide})


def test_loss_is_the_mean_over_digits():
    outputs = torch.zeros(3, 20)
    targets = torch.tensor([[1, 2], [3, 4], [5, 6]])
    assert arithmetic.loss(outputs, targets).item() == pytest.approx(torch.tensor(10.0).log().item())
