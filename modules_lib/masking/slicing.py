"""A batch as K slices, one for each mask: which arguments are cut, in which dimension, and how outputs are joined."""

from __future__ import annotations

import copy
import functools
import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modules_lib.support.checks import check_slices
from modules_lib.support.trees import leaves, map_tensors, rebuilt, tensors

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
NEAR = {torch.float32: 1e-3, torch.float64: 1e-3}  # of the largest number; coarser types 5e-2
WAYS_OUT = "say which arguments are not cut (shared=), where the batch lies (batch_dims=), or train with whole=True"


class Slicing:
    """The way in which a model's arguments are cut into K slices of the batch.

    Args:
        model: the model, whose ``forward`` names the arguments.
        samples: K.
        shared: arguments, by name or place, that every slice is given whole: an attention mask, positions, a graph.
        batch_dims: the dimension in which the batch lies: one for all arguments, or by name or place, 0 elsewhere.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: int,
        shared: Collection[str | int] = (),
        batch_dims: int | Mapping[str | int, int] = 0,
    ):
        self.samples = samples
        self.shared = {shared} if isinstance(shared, str | int) else set(shared)
        self.dims = batch_dims
        self.places = _places(model)
        self.joined: list[int] | None = None  # the dimension of the batch in each tensor of the outputs, once known
        self.changes_inputs = False

    def name(self, place: str | int) -> str:
        """Name an argument, by its place where it has no name."""
        if isinstance(place, str):
            return place
        return self.places[place] if place < len(self.places) else str(place)

    def _dim(self, place: str | int) -> int | None:
        """The dimension of the batch in an argument; None where it is shared."""
        if {place, self.name(place)} & self.shared:
            return None
        if isinstance(self.dims, int):
            return self.dims
        return self.dims.get(self.name(place), self.dims.get(place, 0))

    def _each(self, arguments: Arguments) -> list[tuple[str | int, Any, int | None]]:
        inputs, named = arguments
        places: list[tuple[str | int, Any]] = [*enumerate(inputs), *named.items()]
        return [(place, value, self._dim(place)) for place, value in places]

    def batch(self, arguments: Arguments) -> int:
        """Count the rows of the first argument that is not shared.

        Raises:
            ValueError: no argument has a batch.
        """
        for _, value, dim in self._each(arguments):
            if dim is not None:
                for tensor in tensors(value):
                    if tensor.dim() > dim:
                        return tensor.shape[dim]
        raise ValueError("There is no tensor among the model's arguments with the batch as its first dimension.")

    def check(self, arguments: Arguments) -> None:
        """Refuse a batch that cannot be cut.

        Raises:
            ValueError: the batch is not divisible by K.
        """
        if self.samples > 1:
            check_slices(self.batch(arguments), self.samples)

    def cut(self, arguments: Arguments) -> list[Arguments]:
        """Cut the arguments into K, each with its slice of the batch.

        Raises:
            ValueError: the batch is not divisible by K, or an argument has other rows than the batch.
        """
        if self.samples == 1:
            return [arguments]
        rows = self.batch(arguments)
        check_slices(rows, self.samples)
        parts: list[list[Any]] = [[] for _ in range(self.samples)]
        for place, value, dim in self._each(arguments):
            for own, part in zip(parts, self._parts(place, value, dim, rows), strict=True):
                own.append(part)
        inputs, named = arguments
        return [(tuple(own[: len(inputs)]), dict(zip(named, own[len(inputs) :], strict=True))) for own in parts]

    def _parts(self, place: str | int, value: Any, dim: int | None, rows: int) -> list[Any]:
        if dim is None:
            return [value] * self.samples

        def part(k: int, tensor: Tensor) -> Tensor:
            if not tensor.dim():
                return tensor
            if tensor.dim() <= dim or tensor.shape[dim] != rows:
                raise ValueError(
                    f"Argument {self.name(place)!r} of shape {tuple(tensor.shape)} has no batch of {rows} in dimension "
                    f"{dim}; if every row of the batch uses it whole, give shared=({self.name(place)!r},); if its "
                    f"batch lies elsewhere, give batch_dims={{{self.name(place)!r}: 1}} or another dimension."
                )
            return tensor.chunk(self.samples, dim)[k]

        return [map_tensors(functools.partial(part, k), value) for k in range(self.samples)]

    def join(self, outputs: list[Any]) -> Any:
        """Join the outputs of the slices; values that are no tensors are those of the first slice.

        A number without dimensions, such as an auxiliary loss, is the mean over the slices.
        """
        if self.samples == 1:
            return outputs[0]
        parts = [leaves(output) for output in outputs]
        dims = self.joined or [0] * len(parts[0])
        return rebuilt(
            outputs[0], [_joined(list(one), dim) for one, dim in zip(zip(*parts, strict=True), dims, strict=True)]
        )

    @torch.no_grad()
    def learn(self, model: Callable[..., Any], arguments: Arguments) -> None:
        """Find the batch dimension of outputs, and compare those of slices with those of the whole, without masks.

        Raises:
            ValueError: the model fails on a slice, an argument must not be cut, or outputs do not fit together.
                Outputs that fit but differ are warned of.
        """
        whole, copied = _called(model, arguments)
        self.changes_inputs = any(tensor._version for tensor in tensors(copied))
        if self.samples == 1:
            return
        wholes, slices = leaves(whole), self.cut(arguments)
        try:
            parts = [leaves(_called(model, part)[0]) for part in slices]
        except Exception as error:
            said = f"The model runs on the batch, but not on a slice of it ({type(error).__name__}: {error})"
            self._name_shared(model, arguments, wholes, said)
            raise ValueError(f"{said}; {WAYS_OUT}.") from error
        dims = _dims(wholes, parts)
        if None in dims and self._repeats(model, arguments, wholes):
            output = dims.index(None)
            self._refuse(model, arguments, output, wholes, _fits(wholes[output], [part[output] for part in parts]))
        self.joined = [dim or 0 for dim in dims]

    def _repeats(self, model: Callable[..., Any], arguments: Arguments, wholes: list[Any]) -> bool:
        """Whether a second call gives the same outputs; a model that draws random numbers cannot be compared."""
        again = leaves(_called(model, arguments)[0])
        return all(not isinstance(one, Tensor) or _near(one, other) for one, other in zip(wholes, again, strict=True))

    def _refuse(
        self, model: Callable[..., Any], arguments: Arguments, output: int, wholes: list[Any], fits: bool
    ) -> None:
        """Say which output is not that of the batch, and what would mend it: a warning, where it at least fits."""
        said = f"Output {output}" if len(wholes) > 1 else "The output"
        said += " is not the same from slices of the batch as from the whole"
        self._name_shared(model, arguments, wholes, said)
        said += ": its rows depend on one another"
        if not fits:
            raise ValueError(f"{said}, or its size on the longest of them; {WAYS_OUT}.")
        said += f". Each mask sees the rows of its slice alone; if that is not meant, {WAYS_OUT}."
        warnings.warn(said, stacklevel=2)

    def _name_shared(self, model: Callable[..., Any], arguments: Arguments, wholes: list[Any], said: str) -> None:
        """Refuse with the name of an argument, if the slices are right where it is not cut."""
        for place, value, dim in self._each(arguments):
            if dim is None or not list(tensors(value)):
                continue
            other = copy.copy(self)
            other.shared = {*self.shared, place}
            try:
                right = None not in _dims(wholes, [leaves(_called(model, part)[0]) for part in other.cut(arguments)])
            except Exception:  # this argument is not the one
                continue
            if right:
                raise ValueError(
                    f"{said}; argument {self.name(place)!r} must not be cut: give shared=({self.name(place)!r},)."
                )


def _places(model: nn.Module) -> list[str]:
    """The names of the arguments of a model's forward, in order."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def cloned(arguments: Arguments) -> Arguments:
    """Copy the arguments, for a model that may change them."""
    return map_tensors(torch.clone, arguments)


def _called(model: Callable[..., Any], arguments: Arguments) -> tuple[Any, Arguments]:
    """The model's outputs for a copy of the arguments, and the copy as it is then."""
    inputs, named = copied = cloned(arguments)
    return model(*inputs, **named), copied


def _joined(parts: list[Any], dim: int) -> Any:
    if not isinstance(parts[0], Tensor):
        return parts[0]
    return torch.cat(parts, dim) if parts[0].dim() else torch.stack(parts).mean(0, dtype=torch.float32)


def _dims(wholes: list[Any], parts: list[list[Any]]) -> list[int | None]:
    """:func:`_dim_of` for each output."""
    return [_dim_of(whole, list(own)) for whole, own in zip(wholes, zip(*parts, strict=True), strict=True)]


def _dim_of(whole: Any, parts: list[Any]) -> int | None:
    """The dimension in which parts put together are the whole; None where they are not. 0 if nothing is joined."""
    if not isinstance(whole, Tensor) or not whole.dim():
        return 0
    for dim in range(whole.dim()):
        rest = [tuple(n for i, n in enumerate(part.shape) if i != dim) for part in (whole, *parts)]
        fits = len(set(rest)) == 1 and sum(part.shape[dim] for part in parts) == whole.shape[dim]
        if fits and _near(whole, torch.cat(parts, dim)):
            return dim
    return None


def _fits(whole: Tensor, parts: list[Tensor]) -> bool:
    """Whether parts can be put together along the first dimension to something of the size of the whole."""
    return sum(map(len, parts)) == len(whole) and all(part.shape[1:] == whole.shape[1:] for part in parts)


def _near(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same but for rounding; of whole numbers and words, but for one in a hundred."""
    if one.shape != other.shape:
        return False
    if not one.numel():
        return True
    if not (one.is_floating_point() or one.is_complex()):
        return float((one == other).double().mean()) >= 0.99
    finite = one.isfinite()
    if not torch.equal(finite, other.isfinite()) or not bool(finite.any()):
        return bool(torch.equal(finite, other.isfinite()))
    one, other = one[finite], other[finite]
    spread, largest = float((one - one.mean()).abs().max()), float(one.abs().max())
    return float((one - other).abs().max()) <= NEAR.get(one.dtype, 5e-2) * spread + 1e-5 * largest
