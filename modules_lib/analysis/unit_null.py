"""Masks at random that keep, on average, as many weights of every unit: of each row and of each column of a matrix.

Needed weights gather at some units, so masks of different tasks may overlap more than weights placed anywhere would,
without sharing anything but units. Among all distributions that keep these averages, the weights of the one here are
otherwise independent (the maximum-entropy model of bipartite graphs: Squartini and Garlaschelli, 2011).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

STEPS, CLOSE = 500, 1e-3  # of the fit; weights, by which the rows' and columns' numbers may be missed


def probabilities(mask: Tensor) -> Tensor:
    """Return the probability of each weight to be kept at random: float64, in the mask's shape.

    Their sums over each row, and over each column, are the mask's own numbers of kept weights. A row is an output unit;
    the kernel's places are columns of their own in a convolution. A vector, such as a bias, has one row.
    """
    if mask.dim() < 2:
        return torch.full(mask.shape, float(mask.double().mean()), dtype=torch.float64)
    kept = mask.flatten(1).double()
    fixed_rows, fixed_columns = ((kept == kept.narrow(dim, 0, 1)).all(dim) for dim in (1, 0))
    inner = kept[~fixed_rows][:, ~fixed_columns]  # where anything can vary
    found = kept.clone()
    if inner.numel():
        found[(~fixed_rows)[:, None] & (~fixed_columns)[None]] = _fit(inner.sum(1), inner.sum(0)).flatten()
    return found.reshape(mask.shape)


def _fit(rows: Tensor, columns: Tensor) -> Tensor:
    """[R, C] of x y / (1 + x y), x of the row and y of the column, with these sums; one factor after the other."""
    width, height = len(columns), len(rows)
    # Sums of nothing or of everything are limits that no factor reaches.
    rows, columns = rows.clamp(1e-9, width - 1e-9), columns.clamp(1e-9, height - 1e-9)
    x, y = rows / (width - rows), torch.ones_like(columns)
    for _ in range(STEPS):
        y = columns / (x[:, None] / (1 + x[:, None] * y)).sum(0)
        x = rows / (y / (1 + x[:, None] * y)).sum(1)
        odds = x[:, None] * y
        chance = odds / (1 + odds)
        if float((chance.sum(1) - rows).abs().max() + (chance.sum(0) - columns).abs().max()) < CLOSE:
            break
    return chance


def overlaps(target: Tensor, reference: Tensor, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draw how many of the reference's weights random masks like the target keep: float [draws]."""
    chance = probabilities(target)[reference].numpy()  # independent given the reference: the sum alone is wanted
    certain = int((chance > 1 - 1e-6).sum())
    chance = np.sort(chance[(chance > 1e-6) & (chance <= 1 - 1e-6)])
    # Weights of nearly one probability are drawn together: their number is binomial.
    total = np.full(draws, certain, dtype=float)
    for group in np.array_split(chance, min(len(chance), 1000)) if len(chance) else ():
        total += generator.binomial(len(group), group.mean(), draws)
    return total
