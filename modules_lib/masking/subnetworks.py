"""A model under masks, as it is measured once masks are found."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from modules_lib.masking.masks import Masks
from modules_lib.masking.selection import Network, check_model, copy_of, effective
from modules_lib.support.checks import check_choice


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, and afterwards each of its modules back as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


@torch.no_grad()
def subnetwork(model: Network, masks: Masks, removed: str = "zero", seed: int = 0) -> Network:
    """Copy the model, in evaluation mode, with other numbers in the place of removed weights (equation 3 with M for m).

    Args:
        model: any torch module; weights that it computes from others are plain ones in the copy.
        masks: of the model; parameters that they do not name stay.
        removed: what stands in for a removed weight: "zero"; the "mean" of its tensor; "redrawn", a number from the
            distribution of its layer's first weights; or "permuted", that of another removed weight of its tensor.
        seed: of the numbers that are drawn.

    Raises:
        ValueError: the masks belong to another model, or a layer cannot draw its weights anew.
    """
    check_choice("value for removed weights", removed, REMOVED)
    check_model(model)
    result = effective(model)
    result = (copy_of(model) if result is model else result).eval()
    parameters = dict(result.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise ValueError(
                f"The masks belong to another model: they mask {name!r} of shape {tuple(mask.shape)}, which this model "
                "does not have; use them with the model they were trained on."
            )
    for i, (name, mask) in enumerate(masks.items()):
        generator = torch.Generator().manual_seed(seed * len(masks) + i)
        REMOVED[removed](result, name, parameters[name], mask.to(parameters[name].device), generator)
    return result


def _zero(model: nn.Module, name: str, weights: Tensor, mask: Tensor, generator: torch.Generator) -> None:
    weights.mul_(mask)


def _mean(model: nn.Module, name: str, weights: Tensor, mask: Tensor, generator: torch.Generator) -> None:
    weights.copy_(torch.where(mask, weights, weights.mean()))


def _redrawn(model: nn.Module, name: str, weights: Tensor, mask: Tensor, generator: torch.Generator) -> None:
    owner, _, own = name.rpartition(".")
    module = model.get_submodule(owner)
    begin = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
    if begin is None:
        raise ValueError(
            f"{name} cannot be drawn anew: its {type(module).__name__} has no reset_parameters; take 'mean' or 'zero'."
        )
    other = copy.deepcopy(module)
    with torch.random.fork_rng([weights.device] if weights.is_cuda else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        getattr(other, begin.__name__)()
    weights.copy_(torch.where(mask, weights, other._parameters[own]))  # type: ignore[arg-type]


def _permuted(model: nn.Module, name: str, weights: Tensor, mask: Tensor, generator: torch.Generator) -> None:
    gone = weights[~mask]
    weights[~mask] = gone[torch.randperm(len(gone), generator=generator).to(gone.device)]


REMOVED: dict[str, Callable[..., None]] = {"zero": _zero, "mean": _mean, "redrawn": _redrawn, "permuted": _permuted}
