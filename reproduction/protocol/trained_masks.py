"""Measurements of trained mask probabilities before they are thresholded (section 2 and Figure 6)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.support import rng as noise
from modules_lib.training.progress import Rows
from reproduction.protocol.stage import BINS, SAMPLED

DRAWN = 4  # masks


def histogram(masked: MaskedModel, stage: str) -> Rows:
    """Count the stage's mask probabilities in each of BINS equal parts of [0, 1]; empty ones are left out."""
    probabilities = torch.cat([p.flatten().cpu() for p in masked.probabilities().values()])
    counts = torch.histc(probabilities, BINS, 0, 1).long().tolist()
    return [
        {"stage": stage, "metric": "probability", "bin": i, "value": count} for i, count in enumerate(counts) if count
    ]


def sampled(model: nn.Module, masked: MaskedModel, seed: int, asked: Callable[[nn.Module], Rows]) -> Rows:
    """Average, over masks drawn from their probabilities, the numbers that ``asked`` measures on the network.

    Returns:
        the rows of ``asked``, of the stage SAMPLED.
    """
    generator = torch.Generator().manual_seed(noise.key(seed, SAMPLED)[0] % 2**31)
    kept = {name: p.cpu() for name, p in masked.probabilities().items()}
    drawn = []
    for _ in range(DRAWN):
        mask = Masks({name: torch.rand(p.shape, generator=generator) < p for name, p in kept.items()})
        drawn.append(asked(subnetwork(model, mask)))
    means = [sum(row["value"] for row in rows) / DRAWN for rows in zip(*drawn, strict=True)]
    return [{**row, "stage": SAMPLED, "value": round(mean, 6)} for row, mean in zip(drawn[0], means, strict=True)]
