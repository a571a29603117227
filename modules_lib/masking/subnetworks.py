"""A model under masks: what is measured, once masks are found."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from modules_lib.masking.masks import Masks

Network = TypeVar("Network", bound=nn.Module)


@contextlib.contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards each of its modules as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def _has_graph(value: Any) -> bool:
    return isinstance(value, Tensor) and value.grad_fn is not None


def subnetwork(model: Network, masks: Masks) -> Network:
    """A copy of the model in evaluation mode with the removed weights set to zero (equation 3 with M for m)."""
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise ValueError(
                f"The masks belong to another model: they mask {name!r} of shape {tuple(mask.shape)}, which this model "
                "does not have; use them with the model they were trained on."
            )
    # What a forward left on its module may belong to a graph, which cannot be copied.
    left = {id(value): value for module in model.modules() for value in vars(module).values() if _has_graph(value)}
    result = copy.deepcopy(model, {key: value.detach().clone() for key, value in left.items()}).eval()
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            if name in masks:
                parameter.mul_(masks[name].to(parameter.device))
    return result
