"""Masks: which weights of a network are kept, as named boolean tensors, and how masks compare (appendix B.1)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn


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
        """How many weights are kept, in the named tensor or in all."""
        return sum(int(tensor.sum()) for tensor in self._select(name))

    def size(self, name: str | None = None) -> int:
        """How many weights there are, kept or not, in the named tensor or in all."""
        return sum(tensor.numel() for tensor in self._select(name))

    def kept(self, name: str | None = None) -> float:
        """The kept proportion of the weights, in the named tensor or in all; nan for no weights."""
        return self.count(name) / self.size(name) if self.size(name) else math.nan

    def _select(self, name: str | None) -> list[Tensor]:
        if name is not None and name not in self:
            raise ValueError(f"There is no mask named {name!r}; the names are {', '.join(self)}.")
        return list(self.values()) if name is None else [self[name]]

    def save(self, path: str | Path, model: nn.Module | None = None) -> None:
        """Write the masks as a safetensors file with eight weights a byte.

        Args:
            path: the file; it appears whole or not at all.
            model: the model the masks were trained on; :meth:`load` then refuses them for any other weights.
        """
        packed = {name: torch.from_numpy(np.packbits(tensor.numpy().ravel())) for name, tensor in self.items()}
        about = {"version": 1, "shapes": self.shapes(), "model": fingerprint(model) if model is not None else None}
        # One entry, since the order of several is not the same from one file to the next.
        metadata = {"modules_lib masks": json.dumps(about)}
        partial = Path(path).with_name(Path(path).name + ".part")
        partial.write_bytes(to_safetensors(packed, metadata))
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> Masks:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            model: if given, masks for other parameters, or trained on other weights, are refused.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, holds no masks, or was made for another model.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if "modules_lib masks" not in metadata:
                    raise ValueError(f"{path} holds no masks of this library; Masks.save writes such files.")
                about = json.loads(metadata["modules_lib masks"])
                shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
                tensors = {name: _unpack(file.get_tensor(name), shape) for name, shape in shapes.items()}
        except (SafetensorError, KeyError, json.JSONDecodeError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and make the masks again.") from error
        if model is not None:
            _check_fits(path, shapes, about["model"], model)
        return cls(tensors)


def _unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    if packed.dtype != torch.uint8 or packed.numel() != -(-math.prod(shape) // 8):
        raise KeyError(f"a mask of shape {shape} is not there in full")
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits.astype(bool)).reshape(shape)


def _describe(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "no tensors"


def _check_fits(path: str | Path, shapes: dict[str, tuple[int, ...]], trained_on: str | None, model: nn.Module) -> None:
    own = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name, shape in shapes.items():
        if own.get(name) != shape:
            found = f"{name} of shape {own[name]}" if name in own else f"no parameter {name}"
            raise ValueError(
                f"{path} holds masks for another model: it masks {name} of shape {shape}, this model has {found}; "
                "load it with the model it was trained on."
            )
    if trained_on is not None and trained_on != fingerprint(model):
        raise ValueError(
            f"{path} holds masks for other weights of this architecture; load the weights they were trained on."
        )


def fingerprint(model: nn.Module) -> str:
    """A hash of the names, shapes and values of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def sharing(target: Masks, *references: Masks, name: str | None = None) -> float:
    """Equation 14: the proportion of the target's weights that the references use too.

    Args:
        target: the masks t.
        references: the masks of the other tasks; r is the logical or of all of them.
        name: one masked tensor, or None for the total over all of them.

    Returns:
        sum(t * r) / sum(t), in [0, 1]; nan where the target keeps no weights.

    Raises:
        ValueError: no reference is given, the masks are of different models, or there is no such name.
    """
    if not references:
        raise ValueError("Sharing needs at least one reference mask to compare with; none was given.")
    others = references[0]
    for reference in references[1:]:
        others = others | reference
    own = target.count(name)
    return (target & others).count(name) / own if own else math.nan
