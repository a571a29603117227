"""Packed sequences of unequal lengths, for K groups of sequences at once, each with weights of its own.

A batch costs its tokens rather than its longest sequence: sequences that have ended leave it. All tokens go through a
layer's input weights in one product, and all gradients of its weights come from one; only the state goes step by step.
Tokens are rows, so that a step's are one piece of memory, which nothing has to copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden and cell state


class Packing:
    """The places of the tokens of B sequences in [K, N]: step by step, and in each step the longest sequence first.

    Every group has as many places in a step as the group that has most sequences left. Elsewhere than on a CPU all stay
    to the last step: the host would have to wait to know which have ended.

    Args:
        there: bool [B, T], where sequences have tokens, at least 1 each; the first B / K sequences are the first group.
        groups: K.

    Raises:
        ValueError: a sequence is empty; elsewhere than on a CPU that is not looked at.

    Attributes:
        counts: sequences in each step.
        order: int64 [K, B / K], the sequences of each group, the longest first.
    """

    def __init__(self, there: Tensor, groups: int):
        device, lengths = there.device, there.sum(1)
        grouped = lengths.view(groups, -1)  # [K, b]
        descending, order = grouped.sort(stable=True, dim=1, descending=True)
        steps = torch.arange(there.shape[1], device=device)
        left = (descending.amax(0) > steps[:, None]).sum(1)  # [T]
        if there.is_cpu:
            if int(lengths.min()) < 1:
                raise ValueError("A sequence is empty; every sequence must have at least one token.")
            self.counts = [count for count in left.tolist() if count]
        else:
            self.counts, left = [grouped.shape[1]] * len(steps), torch.full_like(left, grouped.shape[1])
        self.order = torch.arange(groups, device=device)[:, None] * grouped.shape[1] + order
        self._there, self._rank = there, order.argsort(1).flatten()  # [B], place of a sequence within each step
        self._starts = F.pad(left.cumsum(0), (1, 0))  # [T + 1]
        self._step = steps.repeat_interleave(left, output_size=sum(self.counts))  # [N]
        place = torch.arange(len(self._step), device=device) - self._starts[self._step]
        self._row = self.order[:, place]  # [K, N]

    def pack(self, tokens: Tensor) -> Tensor:
        """Pack tokens: [B, T] -> [K, N]; places behind the end of a sequence are filled with its padding."""
        return tokens[self._row, self._step]

    def at(self, rows: Tensor, steps: Tensor) -> Tensor:
        """Find where tokens of these sequences lie in [N], each in its group."""
        return self._starts[steps] + self._rank[rows]

    def unpack(self, packed: Tensor) -> Tensor:
        """Unpack tokens: [K, N, C] -> [B, T, C], zero behind the end of a sequence."""
        rows, steps = (torch.arange(size, device=packed.device) for size in self._there.shape)
        places = self.at(rows[:, None], steps).where(self._there, 0)  # [B, T]
        return packed[(rows // self.order.shape[1])[:, None], places].masked_fill(~self._there.unsqueeze(2), 0.0)


def embedded(table: Tensor, tokens: Tensor) -> Tensor:
    """Look tokens up in K tables: [K or 1, V, E], int64 [K, n] -> [K, n, E]."""
    if len(table) == 1:
        return F.embedding(tokens, table[0])
    first = torch.arange(len(table), device=tokens.device)[:, None] * table.shape[1]
    return F.embedding(tokens + first, table.flatten(0, 1))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply K linear layers: [K, n, in], [K or 1, out, in], [K or 1, out] -> [K, n, out]."""
    return torch.baddbmm(bias.unsqueeze(1), x, weight.expand(len(x), -1, -1).mT)


@contextlib.contextmanager
def recurrence_with_gradient(model: nn.Module) -> Iterator[None]:
    """Put recurrent layers into training mode, where cuDNN has gradients, without dropout, so that outputs stay."""
    layers = [(module, module.dropout) for module in model.modules() if isinstance(module, nn.RNNBase)]
    try:
        for layer, _ in layers:
            layer.training, layer.dropout = True, 0.0
        yield
    finally:
        for layer, dropout in layers:
            layer.training, layer.dropout = False, dropout
