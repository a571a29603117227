"""Tensors in nested structures, as models take and return them: tuples, named tuples, lists, dicts, data classes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply a function to every tensor of a structure."""
    if isinstance(tree, Tensor):
        return function(tree)
    parts = _parts(tree)
    return tree if parts is None else _like(tree, [map_tensors(function, part) for part in parts])


def tensors(tree: Any) -> Iterator[Tensor]:
    """Yield every tensor of a structure, in order."""
    if isinstance(tree, Tensor):
        yield tree
    for part in _parts(tree) or ():
        yield from tensors(part)


def batch_size(tree: Any) -> int:
    """Find the first dimension of the first tensor that has any.

    Raises:
        ValueError: no tensor has a dimension.
    """
    sizes = (len(tensor) for tensor in tensors(tree) if tensor.dim())
    if (size := next(sizes, None)) is None:
        raise ValueError("There is no tensor among the model's arguments with the batch as its first dimension.")
    return size


def leaves(tree: Any) -> list[Any]:
    """List everything in a structure that is no structure itself, in order: tensors, numbers, words."""
    parts = _parts(tree)
    return [tree] if parts is None else [leaf for part in parts for leaf in leaves(part)]


def rebuilt(tree: Any, values: Sequence[Any]) -> Any:
    """Fill a structure with other :func:`leaves`."""
    left = iter(values)

    def build(part: Any) -> Any:
        parts = _parts(part)
        return next(left) if parts is None else _like(part, [build(one) for one in parts])

    return build(tree)


def holds_tensors(value: Any) -> bool:
    """Tell whether a value is a tensor, or a list, tuple, set or dict with one in it."""
    if isinstance(value, dict):
        return any(map(holds_tensors, value.values()))
    return isinstance(value, Tensor) or (isinstance(value, list | tuple | set) and any(map(holds_tensors, value)))


def agree(ours: Any, theirs: Any, others: Any) -> bool:
    """Tell whether ours and theirs differ by rounding alone, far less than theirs and the others do."""
    if isinstance(theirs, Tensor):
        if not isinstance(ours, Tensor) or ours.shape != theirs.shape:
            return False
        change, rounding = (theirs - others).abs().max().float(), (ours - theirs).abs().max().float()
        tolerance = 1e-3 if theirs.dtype in (torch.float32, torch.float64) else 5e-2
        return bool((rounding <= tolerance * change) & (change > 0))
    return all(map(agree, _parts(ours) or (), _parts(theirs) or (), _parts(others) or ()))


def random_like(tree: Any, generator: torch.Generator, low: torch.dtype = torch.float32) -> Any:
    """Replace numbers by random ones, bfloat16 ones in the type ``low``; whole numbers, perhaps indices, stay."""

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        kind = low if tensor.dtype == torch.bfloat16 else tensor.dtype
        return torch.randn(tensor.shape, generator=generator, device=tensor.device).to(kind)

    return map_tensors(drawn, tree)


def to_float32(tensor: Tensor) -> Tensor:
    """Convert a bfloat16 tensor to float32; any other stays as it is."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _parts(tree: Any) -> list[Any] | None:
    """The contents of a structure; None for a value that is none.

    Raises:
        ValueError: the value holds tensors in places that are not known.
    """
    if isinstance(tree, PackedSequence):
        raise ValueError(
            "A PackedSequence cannot be cut into slices of a batch; give padded sequences and their lengths."
        )
    if isinstance(tree, Mapping):
        return list(tree.values())
    if isinstance(tree, tuple | list):
        return list(tree)
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    if any(isinstance(value, Tensor) for value in getattr(tree, "__dict__", {}).values()):
        raise ValueError(
            f"A {type(tree).__name__} holds tensors that cannot be cut into slices of a batch; models take and return "
            "tensors, or tuples, lists, dicts or data classes of them."
        )
    return None


def _like(tree: Any, parts: Sequence[Any]) -> Any:
    """The structure with other contents."""
    if isinstance(tree, Mapping):
        named = dict(zip(tree, parts, strict=True))
        try:
            return named if type(tree) is dict else type(tree)(**named)  # outputs with attributes are such classes
        except TypeError:
            return named
    if dataclasses.is_dataclass(tree):
        other = copy.copy(tree)
        for field, part in zip(dataclasses.fields(tree), parts, strict=True):
            object.__setattr__(other, field.name, part)
        return other
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
