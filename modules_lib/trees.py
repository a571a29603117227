"""Tensors in nested structures, as models take and return them: tuples, named tuples, lists, dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from modules_lib.checks import check_slices


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply a function to every tensor of a structure."""
    if isinstance(tree, Tensor):
        return function(tree)
    parts = _parts(tree)
    return tree if parts is None else _like(tree, [map_tensors(function, part) for part in parts])


def tensors(tree: Any) -> Iterator[Tensor]:
    """Every tensor of a structure, in order."""
    if isinstance(tree, Tensor):
        yield tree
    for part in _parts(tree) or ():
        yield from tensors(part)


def slices(tree: Any, count: int) -> list[Any]:
    """Cut every tensor of a structure into ``count`` equal slices of its first dimension; one structure a slice."""
    if isinstance(tree, Tensor):
        check_slices(len(tree), count)
        return list(tree.chunk(count))
    parts = _parts(tree)
    if not parts:
        return [tree] * count
    return [_like(tree, one) for one in zip(*(slices(part, count) for part in parts), strict=True)]


def join(trees: Sequence[Any]) -> Any:
    """Put slices together again, tensor by tensor; of what is no tensor, the first slice's."""
    first = trees[0]
    if isinstance(first, Tensor):
        return torch.cat(list(trees))
    parts = [_parts(tree) for tree in trees]
    return first if parts[0] is None else _like(first, [join(one) for one in zip(*parts, strict=True)])


def agree(ours: Any, theirs: Any, others: Any) -> bool:
    """Whether ours are theirs but for rounding, which is far less than how theirs and the others differ."""
    if isinstance(theirs, Tensor):
        if not isinstance(ours, Tensor) or ours.shape != theirs.shape:
            return False
        change, rounding = (theirs - others).abs().max().float(), (ours - theirs).abs().max().float()
        tolerance = 1e-3 if theirs.dtype in (torch.float32, torch.float64) else 5e-2
        return bool((rounding <= tolerance * change) & (change > 0))
    return all(map(agree, _parts(ours) or (), _parts(theirs) or (), _parts(others) or ()))


def random_like(tree: Any, generator: torch.Generator) -> Any:
    """Random numbers for numbers; what may be an index stays."""

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        kind = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        return torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=kind)

    return map_tensors(drawn, tree)


def to_float32(tensor: Tensor) -> Tensor:
    """bfloat16 -> float32; everything else stays as it is."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _parts(tree: Any) -> list[Any] | None:
    """What a structure holds; None for what is none."""
    if isinstance(tree, Mapping):
        return list(tree.values())
    return list(tree) if isinstance(tree, tuple | list) else None


def _like(tree: Any, parts: Sequence[Any]) -> Any:
    """The structure with other contents."""
    if isinstance(tree, Mapping):
        named = dict(zip(tree, parts, strict=True))
        return named if type(tree) is dict else type(tree)(**named)  # outputs with attributes are such classes
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
