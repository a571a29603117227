"""LSTM layers over sequences of unequal lengths, for K groups of sequences at once, each with weights of its own.

A batch costs its tokens rather than its longest sequence: sequences that have ended leave it. All tokens go through a
layer's input weights in one product, and all gradients of its weights come from one; only the state goes step by step.
Tokens are the columns: weights then are the left factor of every product, which bfloat16 units need not rearrange.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

State = tuple[Tensor, Tensor]  # hidden and cell state
_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


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
        """[K, C, N] -> [tokens, C]: the chosen tokens, bool [B, T], one sequence after another."""
        rows, steps = chosen.nonzero(as_tuple=True)
        return packed[rows // self.order.shape[1], :, self.at(rows, steps)]


def embedded(table: Tensor, tokens: Tensor) -> Tensor:
    """[K or 1, V, E], int64 [K, n] -> [K, E, n]"""
    if len(table) == 1:
        return F.embedding(tokens, table[0]).mT
    first = torch.arange(len(table), device=tokens.device)[:, None] * table.shape[1]
    return F.embedding(tokens + first, table.flatten(0, 1)).mT


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[K, in, n], [K or 1, out, in], [K or 1, out] -> [K, out, n]"""
    return torch.baddbmm(bias.unsqueeze(2), weight.expand(len(x), -1, -1), x)


class Layer:
    """One layer of an LSTM, K of them at once, and the steps that it has taken.

    Args:
        weights: input weights [K, 4 units, inputs], state weights [K, 4 units, units], and the two biases
            [K, 4 units]; as those of :class:`torch.nn.LSTM`, each for K groups, or 1 where these have the same.
        state: hidden and cell state before the first step, [K, units, b] each.
    """

    def __init__(self, weights: list[Tensor], state: State):
        *weights, h, c = _in_one_type(*weights, *state)
        self.inputs, self.recurrent = (weight.expand(len(h), -1, -1) for weight in weights[:2])
        self.bias = (weights[2] + weights[3]).unsqueeze(2)  # [K or 1, 4 units, 1]
        self.h, self.c = [h], [c]
        self.gates: list[Tensor] = []  # activated
        self.squashed: list[Tensor] = []  # tanh of the cell state

    def step(self, x: Tensor) -> Tensor:
        """[K, inputs, n] -> the hidden state after it, [K, units, n]; without gradient."""
        return self._step(torch.baddbmm(self.bias, self.inputs, x))

    def _step(self, gates: Tensor) -> Tensor:
        """gates: [K, 4 units, n], what the inputs give: input, forget, cell and output gate."""
        n = gates.shape[2]
        gates = torch.baddbmm(gates, self.recurrent, self.h[-1][..., :n])
        i, f, g, o = gates.chunk(4, 1)
        torch.sigmoid_(gates[:, : 2 * i.shape[1]])
        torch.tanh_(g)
        torch.sigmoid_(o)
        c = torch.addcmul(f * self.c[-1][..., :n], i, g)
        squashed = c.tanh()
        self.gates.append(gates)
        self.c.append(c)
        self.squashed.append(squashed)
        self.h.append(o * squashed)
        return self.h[-1]

    def run(self, x: Tensor, counts: list[int]) -> State:
        """[K, inputs, N], packed with these counts -> hidden and cell state after every token, [K, units, N] each.

        With gradients; where the steps were taken before, one by one, for them alone.
        """
        [x] = _in_one_type(x)
        return _Run.apply(x, self.h[0], self.c[0], self.inputs, self.recurrent, self.bias, self, counts)


def _in_one_type(*tensors: Tensor) -> list[Tensor]:
    """As they are, or under autocast in its type: steps save for the backward pass what it then multiplies."""
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h: Tensor,
        c: Tensor,
        inputs: Tensor,
        recurrent: Tensor,
        bias: Tensor,
        layer: Layer,
        counts: list[int],
    ) -> State:
        if not layer.gates:
            for gates in torch.baddbmm(bias, inputs, x).split(counts, 2):
                layer._step(gates)
        ctx.save_for_backward(x, inputs, recurrent, *layer.gates, *layer.squashed, *layer.h[:-1], *layer.c[:-1])
        ctx.counts, ctx.bias = counts, bias.shape
        ctx.set_materialize_grads(False)
        return torch.cat(layer.h[1:], 2), torch.cat(layer.c[1:], 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, inputs, recurrent, *steps), counts = ctx.saved_tensors, ctx.counts
        gates, squashed, hs, cs = (steps[i * len(counts) : (i + 1) * len(counts)] for i in range(4))
        come = [grad.split(counts, 2) if grad is not None else None for grad in grads]
        dh, dc = (hs[0].new_zeros(*hs[0].shape[:2], counts[-1]) for _ in range(2))
        dgates, across = [torch.empty_like(step) for step in gates], recurrent.mT.contiguous()
        for t in reversed(range(len(counts))):
            n = counts[t]
            dh, dc = (F.pad(d, (0, n - d.shape[2])) if d.shape[2] < n else d for d in (dh, dc))
            for d, parts in zip((dh, dc), come, strict=True):
                if parts is not None:
                    d += parts[t]
            i, f, g, o = gates[t].chunk(4, 1)
            di, df, dg, do = dgates[t].chunk(4, 1)
            dc += torch.ops.aten.tanh_backward(dh * o, squashed[t])
            _sigmoid_backward(dh * squashed[t], o, grad_input=do)
            _sigmoid_backward(dc * g, i, grad_input=di)
            _sigmoid_backward(dc * cs[t][..., :n], f, grad_input=df)
            _tanh_backward(dc * i, g, grad_input=dg)
            dc *= f
            dh = torch.bmm(across, dgates[t])
        dstate = (F.pad(d, (0, hs[0].shape[2] - d.shape[2])) for d in (dh, dc))
        d = torch.cat(dgates, 2)  # [K, 4 units, N]
        before = torch.cat([h[..., :n] for h, n in zip(hs, counts, strict=True)], 2)  # [K, units, N]
        dx = torch.bmm(inputs.mT, d) if ctx.needs_input_grad[0] else None
        dinputs = torch.bmm(d, x.mT) if ctx.needs_input_grad[3] else None
        drecurrent = torch.bmm(d, before.mT) if ctx.needs_input_grad[4] else None
        dbias = d.sum(2, keepdim=True).sum_to_size(ctx.bias) if ctx.needs_input_grad[5] else None
        return dx, *dstate, dinputs, drecurrent, dbias, None, None


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
