"""LSTM layers over sequences of unequal lengths, for K groups of sequences at once, each with weights of its own.

A batch costs its tokens rather than its longest sequence: sequences that have ended leave it. All tokens go through a
layer's input weights in one product, and all gradients of its weights come from one; only the state goes step by step.
Tokens are rows, so that a step's are one piece of memory, which nothing has to copy.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from modules_lib import cell

State = tuple[Tensor, Tensor]  # hidden and cell state


class Packing:
    """Where the tokens of B sequences lie in [K, N]: step by step, and in each step the longest sequence first.

    Every group has as many places in a step as the group that has most sequences left.

    Args:
        lengths: int64 [B], at least 1 each; the first B / K sequences are the first group.
        groups: K.

    Raises:
        ValueError: a sequence is empty.

    Attributes:
        counts: sequences in each step.
        order: int64 [K, B / K], the sequences of each group, the longest first.
    """

    def __init__(self, lengths: Tensor, groups: int):
        there = lengths.device
        if int(lengths.min()) < 1:
            raise ValueError("A sequence is empty; every sequence must have at least one token.")
        grouped = lengths.view(groups, -1)  # [K, b]
        descending, order = grouped.sort(stable=True, dim=1, descending=True)
        steps = torch.arange(int(lengths.max()), device=there)
        self.counts: list[int] = (descending.amax(0) > steps[:, None]).sum(1).tolist()
        self.order = torch.arange(groups, device=there)[:, None] * grouped.shape[1] + order
        self._rank = order.argsort(1).flatten()  # [B], place of a sequence within each step
        self._starts = torch.tensor([0, *itertools.accumulate(self.counts)], device=there)
        self._step = steps.repeat_interleave(torch.tensor(self.counts, device=there))  # [N]
        place = torch.arange(len(self._step), device=there) - self._starts[self._step]
        self._row = self.order[:, place]  # [K, N]

    def pack(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [K, N]; places behind the end of a sequence have what stands there."""
        return tokens[self._row, self._step]

    def at(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Where tokens of these sequences lie in [N], each in its group."""
        return self._starts[steps] + self._rank[rows]

    def unpack(self, packed: Tensor, chosen: Tensor) -> Tensor:
        """[K, N, C] -> [tokens, C]: the chosen tokens, bool [B, T], one sequence after another."""
        rows, steps = chosen.nonzero(as_tuple=True)
        return packed[rows // self.order.shape[1], self.at(rows, steps)]


def embedded(table: Tensor, tokens: Tensor) -> Tensor:
    """[K or 1, V, E], int64 [K, n] -> [K, n, E]"""
    if len(table) == 1:
        return F.embedding(tokens, table[0])
    first = torch.arange(len(table), device=tokens.device)[:, None] * table.shape[1]
    return F.embedding(tokens + first, table.flatten(0, 1))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[K, n, in], [K or 1, out, in], [K or 1, out] -> [K, n, out]"""
    return torch.baddbmm(bias.unsqueeze(1), x, weight.expand(len(x), -1, -1).mT)


class Layer:
    """One layer of an LSTM, K of them at once, and the states that it goes through.

    Args:
        weights: input weights [K, 4 units, inputs], state weights [K, 4 units, units], and the two biases
            [K, 4 units]; as those of :class:`torch.nn.LSTM`, each for K groups, or 1 where these have the same.
        state: hidden and cell state before the first step, [K, b, units] each.
        counts: sequences in each step, none more than in the step before.

    Attributes:
        h, c: hidden and cell state after every token, [K, N, units] each.
    """

    def __init__(self, weights: list[Tensor], state: State, counts: list[int]):
        *weights, h, c = _in_one_type(*weights, *state)
        self.state = h.contiguous(), c.contiguous()
        self.inputs, self.recurrent = (weight.expand(len(h), -1, -1) for weight in weights[:2])
        self.bias = (weights[2] + weights[3]).unsqueeze(1)  # [K or 1, 1, 4 units]
        groups, _, units = h.shape
        self.h, self.c = (h.new_empty(groups, sum(counts), units) for _ in range(2))
        self.gates = h.new_empty(groups, sum(counts), 4 * units)  # activated
        self.counts, self.taken = counts, 0
        self._steps = [whole.split(counts, 1) for whole in (self.gates, self.c, self.h)]  # of each the parts
        self._going = self.state[0][:, : counts[0]].contiguous()  # the hidden state of those that go on

    def step(self, x: Tensor) -> Tensor:
        """[K, n, inputs] -> the hidden state after it, [K, n, units]; without gradient."""
        return self._step(torch.bmm(x, self.inputs.mT), self.recurrent.mT)

    def _step(self, x: Tensor, recurrent: Tensor) -> Tensor:
        """x: [K, n, 4 units], what the inputs give to the gates; recurrent: [K, units, 4 units]."""
        t, self.taken = self.taken, self.taken + 1
        gates, c, h = (parts[t] for parts in self._steps)
        following = self.counts[self.taken] if self.taken < len(self.counts) else 0
        before = _before(t, self.counts, self.state[1], self._steps[1])
        self._going = cell.forward(x, torch.bmm(self._going, recurrent), self.bias, before, gates, c, h, following)
        return h

    def run(self, x: Tensor) -> State:
        """[K, N, inputs], packed -> hidden and cell state after every token, [K, N, units] each.

        With gradients; where the steps were taken before, one by one, for them alone.
        """
        [x] = _in_one_type(x)
        return _Run.apply(x, *self.state, self.inputs, self.recurrent, self.bias, self)


def _in_one_type(*tensors: Tensor) -> list[Tensor]:
    """As they are, or under autocast in its type: steps save for the backward pass what it then multiplies."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


def _before(t: int, counts: list[int], first: Tensor, after: Sequence[Tensor]) -> Tensor:
    """The states before step t, [K, n, units], of those before the first step and those after each."""
    return (after[t - 1] if t else first)[:, : counts[t]]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, inputs: Tensor, recurrent: Tensor, bias: Tensor, layer: Layer
    ) -> State:
        if not layer.taken:
            torch.bmm(x, inputs.mT, out=layer.gates)
            across = recurrent.mT.contiguous()
            for part in layer._steps[0]:
                layer._step(part, across)
        ctx.save_for_backward(x, h, c, inputs, recurrent, layer.gates, layer.h, layer.c)
        ctx.counts, ctx.bias = layer.counts, bias.shape
        ctx.set_materialize_grads(False)
        return layer.h, layer.c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, h0, c0, inputs, recurrent, gates, h, c), counts = ctx.saved_tensors, ctx.counts
        d, dh, dc = torch.empty_like(gates), c0[:, :0], torch.zeros_like(c0, dtype=_at_least_float32(c0))
        gates, cells, dgates = (whole.split(counts, 1) for whole in (gates, c, d))
        nothing = [None] * len(counts)
        from_h, from_c = (nothing if grad is None else grad.contiguous().split(counts, 1) for grad in grads)
        for t in reversed(range(len(counts))):
            before, carried = _before(t, counts, c0, cells), dc[:, : counts[t]]
            packed = cell.backward(gates[t], cells[t], before, from_h[t], from_c[t], dh, carried, dgates[t])
            dh = torch.bmm(packed, recurrent)  # [K, n, units]
        hiddens = h.split(counts, 1)
        before = torch.cat([_before(t, counts, h0, hiddens) for t in range(len(counts))], 1)  # [K, N, units]
        dh = F.pad(dh, (0, 0, 0, h0.shape[1] - dh.shape[1]))
        dx = torch.bmm(d, inputs) if ctx.needs_input_grad[0] else None
        dinputs = torch.bmm(d.mT, x) if ctx.needs_input_grad[3] else None
        drecurrent = torch.bmm(d.mT, before) if ctx.needs_input_grad[4] else None
        dbias = d.sum(1, keepdim=True).sum_to_size(ctx.bias) if ctx.needs_input_grad[5] else None
        return dx, dh, dc.to(c0.dtype), dinputs, drecurrent, dbias, None


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


@contextlib.contextmanager
def recurrence_with_gradient(model: nn.Module) -> Iterator[None]:
    """cuDNN has a gradient for recurrent layers in training mode only; without dropout that computes the same."""
    layers = [(module, module.dropout) for module in model.modules() if isinstance(module, nn.RNNBase)]
    try:
        for layer, _ in layers:
            layer.training, layer.dropout = True, 0.0
        yield
    finally:
        for layer, dropout in layers:
            layer.training, layer.dropout = False, dropout
