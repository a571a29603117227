"""Images that need no file: ten classes that a small network tells apart, for trying out whether everything runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from modules_lib.datasets.images import CLASSES, PARTS, Images
from modules_lib.support import rng as noise
from modules_lib.support.checks import check_choice

COUNTS = {"train": 2000, "test": 500}
COARSE = 4  # a class's pattern is drawn on a grid of so many points a side
SHIFT = 2  # pixels, at most, in each direction
CONTRAST, NOISE = 0.6, 0.4  # of the pattern, and of the pixels' own noise


def generated(
    part: str = "train", shape: tuple[int, int, int] = (3, 32, 32), device: torch.device | str = "cpu"
) -> Images:
    """Make images of ten classes: each a smooth pattern of its own, moved by up to two pixels, under noise.

    They follow from part and shape alone, so that they are the same everywhere.

    Args:
        part: "train", 2,000 images, or "test", 500 others.
        shape: channels, height and width; of CIFAR-10 (3, 32, 32), of MNIST (1, 28, 28).
        device: where they are made and kept.

    Raises:
        ValueError: there is no such part.
    """
    count = COUNTS[check_choice("part", part, PARTS)]
    channels, height, width = shape

    def draw(name: str, *size: int) -> torch.Tensor:
        keys = noise.keys("generated images", *shape, name, count=1, device=device)
        return noise.uniforms(keys, int(torch.Size(size).numel()))[0].view(size)

    coarse = draw("patterns", len(CLASSES), channels, COARSE, COARSE)
    patterns = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    labels = torch.arange(count, device=device) % len(CLASSES)
    down, right = ((draw(f"{part} shifts", 2, count, 1, 1, 1) * (2 * SHIFT + 1)).long() - SHIFT).unbind()
    rows = (torch.arange(height, device=device)[:, None] + down) % height  # [count, 1, height, 1]
    columns = (torch.arange(width, device=device) + right) % width  # [count, 1, 1, width]
    every_channel = torch.arange(channels, device=device)[:, None, None]
    moved = patterns[labels[:, None, None, None], every_channel, rows, columns]  # [count, channels, height, width]
    grain = draw(f"{part} noise", count, channels, height, width)
    pixels = (0.5 + CONTRAST * (moved - 0.5) + NOISE * (grain - 0.5)) * 255
    mean, std = torch.full((channels,), 0.5, device=device), torch.full((channels,), 0.2, device=device)
    return Images(pixels.to(torch.uint8), labels, mean, std)
