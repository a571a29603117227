"""Masks over groups of weights: rows, columns, channels, heads, or any groups; one logit a group."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modules_lib.masking.sample_weights import flatten
from modules_lib.support.checks import check_choice, check_count

# Name and shape of a parameter -> the group of each of its weights, whole numbers of that shape; parameters with groups
# in common return a name of these groups, too. None: the parameter is not masked.
Unit = Callable[[str, torch.Size], Tensor | tuple[str, Tensor] | None]
UNITS = ("weight", "row", "column", "channel", "head")


@dataclass(frozen=True)
class Groups:
    """The group of every weight, those of all parameters one after another.

    Attributes:
        of: int64 [N], in the order in which parameters lie in vectors.
        layers: int64 [G], the layer of each group: one parameter, or several that share their groups.
    """

    of: Tensor
    layers: Tensor

    def to(self, device: torch.device) -> Groups:
        """Move the groups to a device."""
        return Groups(self.of.to(device), self.layers.to(device))

    @property
    def count(self) -> int:
        """The number of groups, G."""
        return len(self.layers)

    @property
    def sizes(self) -> Tensor:
        """float32 [G], the weights in each group."""
        return torch.bincount(self.of, minlength=self.count).float()


def rows(name: str, shape: torch.Size) -> Tensor:
    """Group the weights of each output unit: a row, a kernel of a convolution; each number of a vector."""
    return _along(shape, 0)


def columns(name: str, shape: torch.Size) -> Tensor:
    """Group the weights of each input unit: a column of a linear layer, an input channel; each number of a vector."""
    return _along(shape, min(1, len(shape) - 1))


def _along(shape: torch.Size, dim: int) -> Tensor:
    if not len(shape):
        return torch.zeros(shape, dtype=torch.int64)
    place = [1] * len(shape)
    place[dim] = shape[dim]
    return torch.arange(shape[dim]).view(place).expand(shape)


# The part of a parameter's name before these is the name of its attention layer.
PROJECTIONS = (
    r"(^|\.)(in_proj_weight|(attn\.c_attn|attn\.qkv|(attention\.self\.)?(query|key|value)|[qkv]|[qkv]_(proj|lin)|to_[qkv])"
    r"\.weight)$"
)
OUTPUTS = r"(^|\.)(attn\.c_proj|attn\.proj|attention\.output\.dense|out_proj|o_proj|out_lin|to_out\.0|o)\.weight$"


def heads(number: int, projections: str = PROJECTIONS, outputs: str = OUTPUTS, transposed: bool = False) -> Unit:
    """Make groups of attention heads: the rows of query, key and value and the columns of the output projection.

    A head is one group over all parameters of its attention layer, known by the common beginning of their names.
    Parameters that are neither are not masked.

    Args:
        number: heads of each layer.
        projections, outputs: patterns (:mod:`re`) of the names of the weights of query, key and value, also side by
            side in one, and of the output projection.
        transposed: whether weights are [inputs, outputs], as those of GPT-2 are.

    Returns:
        a function for ``unit``.

    Raises:
        ValueError: number is not a whole number of at least 1; when used, a size is not divisible by it.
    """
    check_count("heads", number)

    def unit(name: str, shape: torch.Size) -> tuple[str, Tensor] | None:
        found = next((p for p in (projections, outputs) if re.search(p, name)), None)
        if found is None or len(shape) != 2:
            return None
        out, into = reversed(shape) if transposed else shape
        side = out if found == projections else into
        together = out // into if found == projections and out > into and out % into == 0 else 1
        if side % (number * together):
            raise ValueError(f"{name} of shape {tuple(shape)} cannot be cut into {number} heads; give their number.")
        own = torch.arange(side) // (side // (number * together)) % number
        by_row = (found == projections) != transposed
        ids = own[:, None].expand(shape) if by_row else own[None].expand(shape)
        return re.sub(found, "", name), ids

    return unit


NAMED: dict[str, Unit] = {"row": rows, "channel": rows, "column": columns}


def unit_of(unit: str | Unit, number_of_heads: int | None) -> Unit | None:
    """Find the function of a unit's name; None for single weights.

    Raises:
        ValueError: there is no such unit, or the number of heads is missing.
    """
    if callable(unit):
        return unit
    check_choice("unit", unit, UNITS)
    if unit == "head":
        if number_of_heads is None:
            raise ValueError("With unit='head' the number of heads is needed: give heads=.")
        return heads(number_of_heads)
    return NAMED.get(unit)


def groups_of(unit: Unit, shapes: Mapping[str, torch.Size]) -> Groups:
    """Number the groups of all parameters.

    Raises:
        ValueError: a unit's groups are no whole numbers of the parameter's shape.
    """
    known: dict[tuple[str, int], int] = {}
    labels: dict[str, int] = {}
    parts = []
    for name, shape in shapes.items():
        given = unit(name, shape)
        label, ids = given if isinstance(given, tuple) else (name, given)
        if not isinstance(ids, Tensor) or ids.shape != shape or ids.is_floating_point():
            what = f"{ids.dtype} of {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise ValueError(f"The groups of {name} are {what}; they must be whole numbers of {tuple(shape)}.")
        local, places = flatten(ids).unique(return_inverse=True)
        own = [known.setdefault((label, int(i)), len(known)) for i in local]
        labels.setdefault(label, len(labels))
        parts.append(torch.tensor(own, dtype=torch.int64)[places])
    return Groups(torch.cat(parts), torch.tensor([labels[label] for label, _ in known]))


def masked_by(unit: Unit) -> Callable[[str, torch.Size], bool]:
    """Make a test of whether a unit has groups for a parameter, by its name and shape."""
    return lambda name, shape: unit(name, shape) is not None


def expanded(groups: Groups, values: Tensor) -> Tensor:
    """Give each weight the value of its group: [G] -> [N]."""
    return values[groups.of]
