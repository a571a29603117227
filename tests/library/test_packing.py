"""LSTM layers for K groups at once against torch.nn.LSTM, one sequence at a time."""

import weakref

import pytest
import torch
from torch import nn

from modules_lib.models.lstm_layer import Layer
from modules_lib.models.packing import Packing, embedded, linear

GROUPS, INPUTS, UNITS = 2, 4, 7
LENGTHS = torch.tensor([3, 1, 5, 2, 4, 4])
NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
EACH = torch.arange(5) < LENGTHS[:, None]  # [B, T]


@pytest.fixture
def alone():
    """An LSTM of one layer for each group."""
    torch.manual_seed(0)
    return [nn.LSTM(INPUTS, UNITS) for _ in range(GROUPS)]


@pytest.fixture
def x():
    return torch.randn(len(LENGTHS), 5, INPUTS, generator=torch.Generator().manual_seed(1), requires_grad=True)


def stacked(lstms):
    return [torch.stack([getattr(lstm, name) for lstm in lstms]) for name in NAMES]


def zero_state():
    return (torch.zeros(GROUPS, len(LENGTHS) // GROUPS, UNITS),) * 2


def packed(x, packing):
    """[B, T, inputs] -> [K, N, inputs]"""
    rows = packing.pack(torch.arange(x.shape[0] * x.shape[1]).view(x.shape[:2]))
    return x.flatten(0, 1)[rows]


def reference(lstms, x):
    """Hidden and cell states of all tokens, one sequence after another, [tokens, units] each."""
    hidden, cells = [], []
    for row, length in enumerate(LENGTHS.tolist()):
        state = None
        for step in range(length):
            out, state = lstms[row // 3](x[row, step].view(1, 1, -1), state)
            hidden.append(out.flatten())
            cells.append(state[1].flatten())
    return torch.stack(hidden), torch.stack(cells)


def test_states_and_gradients_are_those_of_each_sequence_alone(alone, x):
    packing = Packing(EACH, GROUPS)
    states = Layer(stacked(alone), zero_state(), packing.counts).run(packed(x, packing))
    ours, theirs = [packing.unpack(state)[EACH] for state in states], reference(alone, x)
    leaves = [x, *(p for lstm in alone for p in lstm.parameters())]
    torch.testing.assert_close(ours, list(theirs))
    gradients = [torch.autograd.grad(h.sin().sum() + c.square().sum(), leaves) for h, c in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_steps_that_were_taken_before_give_the_same_gradients(alone, x):
    packing = Packing(EACH, GROUPS)
    at_once, by_steps = (Layer(stacked(alone), zero_state(), packing.counts) for _ in range(2))
    with torch.no_grad():
        for part in packed(x, packing).split(packing.counts, 1):
            by_steps.step(part)
    states = [layer.run(packed(x, packing)) for layer in (at_once, by_steps)]
    torch.testing.assert_close(*states)
    leaves = [x, *(p for lstm in alone for p in lstm.parameters())]
    torch.testing.assert_close(*(torch.autograd.grad(h.square().sum() - c.sum(), leaves) for h, c in states))


def test_gradients_reach_the_first_state(alone, x):
    packing = Packing(EACH, GROUPS)
    state = [torch.randn(GROUPS, 3, UNITS, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    weights = [w.detach().double() for w in stacked(alone)]
    inputs = packed(x.detach().double(), packing)

    def sums(h, c):
        hidden, cells = Layer(weights, (h, c), packing.counts).run(inputs)
        return hidden.square().sum() + cells.sin().sum()

    assert torch.autograd.gradcheck(sums, tuple(state))


def test_groups_may_share_weights_and_gradients_add_up(alone, x):
    packing = Packing(EACH, GROUPS)
    one = stacked(alone[:1])
    gradients = []
    for weights in (one, [w.expand(GROUPS, *w.shape[1:]) for w in one]):
        hidden, _ = Layer(list(weights), zero_state(), packing.counts).run(packed(x, packing))
        gradients.append(torch.autograd.grad(packing.unpack(hidden)[EACH].sin().sum(), list(alone[0].parameters())))
    torch.testing.assert_close(*gradients)
    expected = torch.autograd.grad(reference([alone[0]] * GROUPS, x)[0].sin().sum(), list(alone[0].parameters()))
    torch.testing.assert_close(gradients[0], expected)


def test_autocast_multiplies_in_its_type_and_gradients_stay_in_float32(alone, x):
    packing = Packing(EACH, GROUPS)
    with torch.autocast("cpu", torch.bfloat16):
        hidden, _ = Layer(stacked(alone), zero_state(), packing.counts).run(packed(x, packing))
    assert hidden.dtype == torch.bfloat16
    torch.testing.assert_close(packing.unpack(hidden)[EACH].float(), reference(alone, x)[0], rtol=0.05, atol=0.02)
    hidden.float().sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.float32 and alone[0].weight_hh_l0.grad.dtype == torch.float32


def test_an_empty_sequence_is_refused():
    with pytest.raises(ValueError, match="sequence is empty"):
        Packing(torch.tensor([[True, True], [False, False]]), 1)


def test_what_a_layer_keeps_for_the_backward_pass_is_freed_by_it(alone, x):
    """A training loop holds on to the loss until the next one is there; its steps must not stay as long."""
    packing = Packing(EACH, GROUPS)
    layer = Layer(stacked(alone), zero_state(), packing.counts)
    hidden, _ = layer.run(packed(x, packing))
    gates, loss = weakref.ref(layer.gates), hidden.sum()
    del layer, hidden
    assert gates() is not None
    loss.backward()
    assert gates() is None


def test_a_place_for_every_token_and_few_for_none():
    packing = Packing(EACH, GROUPS)
    assert packing.counts == [3, 3, 2, 2, 1]  # of [3, 1, 5] and [2, 4, 4], the most in either
    tokens = torch.arange(30).view(6, 5)
    flat = packing.pack(tokens)  # [K, N]
    assert torch.equal(packing.unpack(flat.unsqueeze(2)).squeeze(2), tokens * EACH)
    assert packing.order.tolist() == [[2, 0, 1], [4, 5, 3]]


@pytest.mark.parametrize("tables", [1, GROUPS])
def test_embeddings_and_linear_layers_of_each_group(tables):
    table, tokens = torch.randn(tables, 5, 3), torch.tensor([[0, 4], [2, 2]])
    weight, bias = torch.randn(tables, 6, 3), torch.randn(tables, 6)
    looked_up = embedded(table, tokens)
    for k in range(GROUPS):
        own = k % tables
        torch.testing.assert_close(looked_up[k], table[own][tokens[k]])
        expected = nn.functional.linear(looked_up[k], weight[own], bias[own])
        torch.testing.assert_close(linear(looked_up, weight, bias)[k], expected)
