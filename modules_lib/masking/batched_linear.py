"""All K samples at once for networks of linear layers: one pass over the whole batch, one batched product a layer.

Running the model once over K slices is right where every layer treats the rows of a batch alike and keeps their
order. That cannot be seen from outside, so a MaskedModel tries it with its first batch; other models are run slice by
slice, or run K sets of weights themselves.

Each layer is sampled in blocks of rows that fit the processor's cache: a block of masked weights is multiplied right
after it is made, and a block of gradients is summed up over the samples right after it is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from modules_lib.masking.dead_weights import Grid
from modules_lib.masking.sample_weights import draw_masked, flatten, piece, unflatten
from modules_lib.masking.samplers import GumbelSigmoid, Sampler
from modules_lib.support.compile_torch import maybe_fused

# Masked weights of all samples in a block. 8 MB of bfloat16; a core's share of the last cache is some megabytes.
BLOCK = 4_000_000


# The position of a parameter's first weight among those that take part, and its grid; None if all take part.
_Place = tuple[int, Grid | None]


class CannotBatchError(Exception):
    """The model does something with a masked parameter other than a linear layer over rows of the batch."""

    def __init__(self, what: str):
        super().__init__(f"{what}; such a model is masked slice by slice: leave `batched` at None or set it to False.")


@dataclass
class Draw:
    """One draw of K masks over all weights, and the gradients that come back for it."""

    logits: Tensor  # [N]
    weights: Tensor  # [N]
    keys: Tensor
    samples: int
    fuse: bool
    sampler: type[Sampler] = GumbelSigmoid
    grids: list[Grid] | None = None  # of each parameter, the weights that take part; None for all
    positions: Tensor | None = None  # int32 [N], the places of these weights in the noise; None for all
    gradients: dict[Callable[..., None], Tensor] = field(default_factory=dict)  # kernel -> [N]
    backward: int = -1  # the number of the backward pass that they belong to
    reached: dict[int, int] = field(default_factory=dict)  # where gradients have come: first position -> size

    def masked(self, start: int, size: int) -> Tensor:
        """Draw the masked weights from a position on: [K, size]."""
        common = self.fuse, self.sampler, self.positions
        return draw_masked(self.logits, self.weights, self.keys, self.samples, start, size, *common)

    def add_gradient(self, start: int, grads: Tensor) -> None:
        """Take in the gradients [K, size] of :meth:`masked`."""
        if self.backward != (now := torch._C._current_graph_task_id()):
            self.backward, self.gradients, self.reached = now, {}, {}  # an earlier pass may not have come to its end
        wanted = {self.sampler.logit_gradient: self.logits, self.sampler.weight_gradient: self.weights}
        at, logits, weights = piece(start, grads.shape[1], self.positions, self.logits, self.weights)
        again = start in self.reached  # a layer that the model uses twice
        for kernel, leaf in wanted.items():
            if leaf.requires_grad:
                if kernel not in self.gradients:
                    self.gradients[kernel] = torch.empty_like(leaf, dtype=torch.float32)
                total = self.gradients[kernel][start : start + grads.shape[1]].detach()
                out = torch.empty_like(total) if again else total
                maybe_fused(kernel, self.fuse)(logits, weights, self.keys, at, out, [row.detach() for row in grads])
                if again:
                    total += out
        self.reached[start] = grads.shape[1]

    def take_gradients(self) -> dict[Callable[..., None], Tensor]:
        """Take the gradients that have come, zero where none has; the draw is then ready for another backward pass."""
        end = 0
        for start, size in sorted(self.reached.items()) + [(len(self.logits), 0)]:
            for total in self.gradients.values():
                total[end:start].zero_()
            end = start + size
        gradients, self.gradients, self.reached = self.gradients, {}, {}
        return gradients


class _Open(torch.autograd.Function):
    """Logits and weights -> one placeholder a parameter; backward hands out the gradients that the draw collected."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor, draw: Draw, shapes: list[torch.Size]) -> tuple[Tensor, ...]:
        ctx.draw = draw
        ctx.set_materialize_grads(False)
        return tuple(weights.new_full((), float("nan")).expand(shape) for shape in shapes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *_: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        gradients, sampler = ctx.draw.take_gradients(), ctx.draw.sampler
        return gradients.get(sampler.logit_gradient), gradients.get(sampler.weight_gradient), None, None


class _Masked(torch.autograd.Function):
    """A placeholder -> the masked weights in its place, [K, ...]; their gradients go to the draw."""

    @staticmethod
    def forward(ctx: Any, placeholder: Tensor, draw: Draw, start: int) -> Tensor:
        ctx.draw, ctx.start = draw, start
        return unflatten(draw.masked(start, placeholder.numel()), placeholder.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:
        ctx.draw.add_gradient(ctx.start, flatten(grad, several=1))
        return None, None, None


def masked_weights(draw: Draw, shapes: list[torch.Size]) -> list[Tensor]:
    """Draw every parameter under all samples, [K, ...] each, for models that run K sets of weights themselves."""
    starts = itertools.accumulate((shape.numel() for shape in shapes[:-1]), initial=0)
    placeholders = _Open.apply(draw.logits, draw.weights, draw, shapes)
    return [_Masked.apply(own, draw, start) for own, start in zip(placeholders, starts, strict=True)]


class _MaskedLinear(torch.autograd.Function):
    """A linear layer whose rows, in K groups, each see their own masked weights, and biases if those are masked too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, placeholder: Tensor, bias: Tensor | None, draw: Draw, at: _Place, bias_at: _Place | None
    ) -> Tensor:  # [B, ..., in] -> [B, ..., out]
        start, grid = at
        rows = x.reshape(draw.samples, -1, x.shape[-1])  # [K, b, in]
        outputs, inputs = placeholder.shape
        if grid is not None:
            rows = rows.index_select(2, grid.columns)
            outputs, inputs = len(grid.rows), len(grid.columns)
        y = x.new_empty((draw.samples, outputs, rows.shape[1]))  # [K, out, b]
        height = max(1, min(outputs, BLOCK // (draw.samples * inputs)))
        blocks = []
        for first in range(0, outputs, height):
            last = min(first + height, outputs)
            block = draw.masked(start + first * inputs, (last - first) * inputs).view(draw.samples, -1, inputs)
            y[:, first:last] = torch.bmm(block, rows.mT)  # a fifth faster than rows @ block.mT
            blocks.append(block)
        ctx.save_for_backward(rows, *blocks)
        ctx.draw, ctx.start, ctx.shape, ctx.biased, ctx.grid = draw, start, x.shape, bias is not None, grid
        ctx.bias_at = bias_at
        if bias_at is not None:
            bias = _masked_biases(draw, bias_at, len(placeholder))
        # Contiguous, as the output of a linear layer is, and no view: a layer may view it, or change it in place.
        whole = x.new_empty((*x.shape[:-1], len(placeholder)))
        out = whole.view(*rows.shape[:2], len(placeholder))  # [K, b, out]
        if grid is None:
            torch.add(y.mT, 0 if bias is None else bias, out=out)
        else:
            out.zero_().index_copy_(2, grid.rows, y.mT)
            out += 0 if bias is None else bias
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        rows, *blocks = ctx.saved_tensors
        dy = dy.reshape(*rows.shape[:2], -1)  # [K, b, out]
        d_bias = None
        if ctx.bias_at is not None:
            first, grid = ctx.bias_at
            sums = dy.sum(1)  # [K, out]
            ctx.draw.add_gradient(first, sums if grid is None else sums.index_select(1, grid.rows))
        elif ctx.biased and ctx.needs_input_grad[2]:
            d_bias = dy.sum((0, 1))
        if ctx.grid is not None:
            dy = dy.index_select(2, ctx.grid.rows)
        dx, first, start = None, 0, ctx.start
        for block in blocks:
            part = dy[..., first : first + block.shape[1]]
            if ctx.needs_input_grad[0]:
                dx = torch.bmm(part, block) if dx is None else dx.baddbmm_(part, block)
            ctx.draw.add_gradient(start, torch.bmm(part.mT, rows).flatten(1))  # [K, rows of the block * in]
            first, start = first + block.shape[1], start + block[0].numel()
        if dx is not None and ctx.grid is not None:
            dx = dx.new_zeros((*dx.shape[:2], ctx.shape[-1])).index_copy_(2, ctx.grid.columns, dx)
        return None if dx is None else dx.view(ctx.shape), None, d_bias, None, None, None


def _masked_biases(draw: Draw, at: _Place, outputs: int) -> Tensor:  # [K, 1, out]
    start, grid = at
    biases = draw.masked(start, outputs if grid is None else grid.size)
    if grid is not None:
        biases = biases.new_zeros((draw.samples, outputs)).index_copy_(1, grid.rows, biases)
    return biases.unsqueeze(1)


class BatchedLinear(TorchFunctionMode):
    """A context in which linear layers with a placeholder as weight use the draw's masked weights and biases.

    Raises:
        CannotBatchError: a placeholder is used otherwise, or an input is not the whole batch.
    """

    def __init__(self, draw: Draw, shapes: list[torch.Size], batch: int):
        super().__init__()
        self.placeholders = list(_Open.apply(draw.logits, draw.weights, draw, shapes))
        self.batch, self.draw, start = batch, draw, 0
        self.places: dict[int, _Place] = {}  # of a placeholder
        for i, placeholder in enumerate(self.placeholders):
            grid = draw.grids[i] if draw.grids else None
            self.places[id(placeholder)] = (start, grid)
            start += grid.size if grid else placeholder.numel()

    def __enter__(self) -> list[Tensor]:
        super().__enter__()
        return self.placeholders

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function is F.linear and len(args) == 3 and id(args[1]) in self.places:
            x, placeholder, bias = args
            if x.dim() < 2 or len(x) != self.batch:
                raise CannotBatchError("A linear layer is given other rows than those of the batch")
            return _MaskedLinear.apply(
                x, placeholder, bias, self.draw, self.places[id(placeholder)], self.places.get(id(bias))
            )
        if any(id(argument) in self.places for argument in args):
            raise CannotBatchError(f"A masked parameter is used by {getattr(function, '__name__', function)}")
        return function(*args, **(kwargs or {}))
