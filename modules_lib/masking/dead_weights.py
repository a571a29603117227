"""Weights that are removed for good leave mask training, so that a step late in a stage costs less than an early one.

The penalty pushes the logit of a weight that nothing needs down without end. Below a limit that each sampler gives
(``Sampler.DEAD``) no number of the noise can keep the weight any more, and what the loss says of it is next to nothing:
the Gumbel-sigmoid's slope s (1 - s) at -20 is 3e-8 on average, against 0.17 at zero. A weight counts as dead if it is
there and Adam's mean gradient, too, pushes it further down.

The rows and columns of a linear layer in which all weights are dead are left out of sampling, products and update, and
so are dead biases. In a network that is run slice by slice after all, products stay as they are; one
that runs K sets of weights itself keeps all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modules_lib.masking.sample_weights import unflatten

EVERY = 500  # steps between searches for dead weights
WORTH = 0.9  # the largest part that may remain; if more would, all stay, since copying would not pay
# A sampler that torch's compiler makes is made anew for weights that do not lie one after another, which takes some
# twenty seconds of a core; a sample takes two nanoseconds. The first weights then leave only if the rest of a stage
# draws so many mask samples fewer.
WORTH_COMPILING = 10_000_000_000


@dataclass(frozen=True)
class Grid:
    """The rows and columns of a layer's weights that take part in mask training: [R], [C] of [outputs, inputs].

    All weights of an output are a row; a vector of biases is one column, and a number one row of one column.
    """

    shape: torch.Size
    rows: Tensor
    columns: Tensor

    @classmethod
    def all(cls, shape: torch.Size, device: torch.device) -> Grid:
        return cls(shape, *(torch.arange(size, device=device) for size in (_height(shape), _width(shape))))

    def to(self, device: torch.device) -> Grid:
        """Move the grid to a device."""
        return Grid(self.shape, self.rows.to(device), self.columns.to(device))

    @property
    def size(self) -> int:
        """The number of weights that take part, R * C."""
        return len(self.rows) * len(self.columns)

    def living(self, dead: Tensor) -> Grid:
        """Take away the rows and columns in which all weights are dead.

        Args:
            dead: bool [R * C], True for this grid's dead weights.
        """
        alive = ~dead.view(len(self.rows), len(self.columns))
        alive[:1, :1] |= ~alive.any()  # a layer without any weight would be a special case everywhere: one stays
        return Grid(self.shape, self.rows[alive.any(1)], self.columns[alive.any(0)])

    def positions(self) -> Tensor:
        """Find the positions of the grid's weights among the layer's: int64 [R * C]."""
        return (self.rows[:, None] * _width(self.shape) + self.columns).flatten()

    def whole(self, part: Tensor) -> Tensor:
        """Spread numbers over the whole layer, zero elsewhere: [R, C] or [R * C] -> the layer's shape."""
        part = part.view(len(self.rows), len(self.columns))
        whole = part.new_zeros(_height(self.shape), _width(self.shape))
        return unflatten(whole.index_put((self.rows[:, None], self.columns), part).flatten(), self.shape)


def _height(shape: torch.Size) -> int:
    return shape[0] if len(shape) else 1


def _width(shape: torch.Size) -> int:
    return shape[1:].numel() if len(shape) else 1


def grids_at(positions: Tensor, shapes: Sequence[torch.Size]) -> list[Grid]:
    """Find the grids of layers that lie one after another, from positions int64 [M] of weights that take part."""
    grids, start = [], 0
    for shape in shapes:
        own = positions[(positions >= start) & (positions < start + shape.numel())] - start
        grids.append(Grid(shape, (own // _width(shape)).unique(), (own % _width(shape)).unique()))
        start += shape.numel()
    return grids


def positions_of(grids: Sequence[Grid]) -> Tensor:
    """Invert :func:`grids_at`: int64 [M], ascending."""
    starts = [0]
    for grid in grids:
        starts.append(starts[-1] + grid.shape.numel())
    return torch.cat([grid.positions() + start for grid, start in zip(grids, starts, strict=False)])
