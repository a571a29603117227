"""Each kind of batch has a graph of its own: shapes, numbers and words; what cannot be told apart has none."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import MaskedModel
from modules_lib.training.cuda_graphs import KINDS, WARM_UP
from tests.library.test_cuda_graphs import numbers, regression, run, same
from tests.library.test_dead_weights import network
from tests.library.test_host_traffic import ROWS


def test_every_shape_has_a_graph_of_its_own(recorded):
    def batch(step):
        return numbers(step, rows=4 if step % 5 == 4 else ROWS)

    masked, _, loss = regression()
    plain = run(masked, batch, loss, steps=25, graphs=False)
    same(run(regression()[0], batch, loss, steps=25), plain)
    assert recorded[0].counts == (2 * WARM_UP, 2, 25 - 2 * WARM_UP)


def test_more_kinds_than_have_a_graph_are_made_plainly(recorded):
    def batch(step):
        return numbers(step, rows=2 * (1 + step % (KINDS + 1)))

    steps = (WARM_UP + 1) * (KINDS + 1)
    masked, _, loss = regression()
    plain = run(masked, batch, loss, steps=steps, graphs=False)
    same(run(regression()[0], batch, loss, steps=steps), plain)
    assert recorded[0].counts == (KINDS * WARM_UP, KINDS, KINDS)


class Scaled(nn.Module):
    """Takes its inputs by name, with numbers and words among them."""

    def __init__(self):
        super().__init__()
        self.model = network()

    def forward(self, x, scale=1.0, how=None):
        return self.model(x) * (scale if how == "scaled" else 1.0)


class Opaque:
    """No number, no word: nobody can tell whether a captured step holds for another one."""


NAMED = {
    "numbers belong to the kind": (lambda step: {"scale": float(1 + step // 5), "how": "scaled"}, 2),
    "words belong to the kind": (lambda step: {"scale": 2.0, "how": None if step < 5 else "scaled"}, 2),
    "of the rest nothing is known": (lambda step: {"how": Opaque()}, 0),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_tensor(recorded, name):
    named, kinds = NAMED[name]

    def made(graphs):
        torch.manual_seed(0)
        masked = MaskedModel(Scaled(), 2, fuse=False)
        batch = lambda step: ({"x": numbers(step)[0]} | named(step), numbers(step)[1])  # noqa: E731
        return run(masked, batch, F.mse_loss, 10, graphs=graphs)

    plain = made(False)
    same(made(True), plain)
    assert recorded[0].captures == kinds


def test_a_tensor_elsewhere_or_a_cache_of_casts_is_left_to_plain_steps(recorded):
    def batch(step):
        inputs, targets = numbers(step)
        return inputs.requires_grad_(), targets

    run(regression()[0], batch, F.mse_loss)
    with torch.autocast("cpu", torch.bfloat16):
        run(*regression())
    assert [one.counts for one in recorded] == [(0, 0, 0)] * 2
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        run(*regression())
    assert recorded[-1].captures == 1
