"""Masks: which weights of a network are kept, as named boolean tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from modules_lib.masking import mask_files as maskfiles


class Masks(Mapping[str, Tensor]):
    """A boolean tensor for every masked parameter, True where the weight is kept.

    ``~a`` removes what ``a`` keeps, ``a & b`` keeps what both keep, ``a | b`` what either keeps.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise ValueError(f"The mask of {name!r} has dtype {tensor.dtype}; masks are torch.bool tensors.")
        self._tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Masks({self.count():,} of {self.size():,} weights kept in {len(self)} tensors)"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Masks)
            and self.shapes() == other.shapes()
            and all(torch.equal(self[name], other[name]) for name in self)
        )

    __hash__ = None  # type: ignore[assignment]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.items()}

    def __invert__(self) -> Masks:
        return Masks({name: ~tensor for name, tensor in self.items()})

    def __and__(self, other: Masks) -> Masks:
        return self._combine(other, torch.logical_and)

    def __or__(self, other: Masks) -> Masks:
        return self._combine(other, torch.logical_or)

    def _combine(self, other: Masks, operation: Callable[[Tensor, Tensor], Tensor]) -> Masks:
        if not isinstance(other, Masks):
            return NotImplemented
        if self.shapes() != other.shapes():
            raise ValueError(
                f"These masks belong to different models ({_describe(self.shapes())} and {_describe(other.shapes())}); "
                "combine masks of one model only."
            )
        return Masks({name: operation(self[name], other[name]) for name in self})

    def count(self, name: str | None = None) -> int:
        """Count the weights that are kept, in the named tensor or in all."""
        return sum(int(tensor.sum()) for tensor in self._select(name))

    def size(self, name: str | None = None) -> int:
        """Count all weights, kept or not, in the named tensor or in all."""
        return sum(tensor.numel() for tensor in self._select(name))

    def kept(self, name: str | None = None) -> float:
        """Measure the kept proportion of the weights, in the named tensor or in all; nan for no weights."""
        return self.count(name) / self.size(name) if self.size(name) else math.nan

    def _select(self, name: str | None) -> list[Tensor]:
        if name is not None and name not in self:
            raise ValueError(f"There is no mask named {name!r}; the names are {', '.join(self)}.")
        return list(self.values()) if name is None else [self[name]]

    def save(self, path: str | Path, model: nn.Module | None = None) -> None:
        """Write the masks as a safetensors file with eight weights a byte (:mod:`modules_lib.masking.mask_files`).

        Args:
            path: the file; it appears whole or not at all.
            model: the model the masks were trained on; :meth:`load` then refuses them for any other weights.
        """
        maskfiles.write(path, {"": self}, model, None)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Masks:
        """Read masks that :meth:`save` wrote.

        Args:
            path: the file.
            model: if given, masks for other parameters are refused, and, where :meth:`save` was given the model, too,
                masks that were trained on other weights.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds no masks, or several tasks' masks, or was made for another model.
        """
        tasks, _ = maskfiles.read(path, model)
        if len(tasks) > 1:
            raise ValueError(
                f"{path} holds the masks of {len(tasks)} tasks ({', '.join(tasks)}); read it with TaskMasks.load."
            )
        [tensors] = tasks.values()
        return cls(tensors)


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "no tensors"
