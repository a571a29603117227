"""Which of a model's numbers are masked: its weights as they act, by name."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

Where = Callable[[str], bool]
Network = TypeVar("Network", bound=nn.Module)
NORMS = ("WeightNorm", "SpectralNorm")  # hooks of torch's older functions


def weights_only(model: nn.Module) -> Where:
    """Choose the parameters to mask as the paper does: all but biases and embeddings."""
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    # By identity: a tied embedding may go by the name of the other layer.
    left_out = {name for name, parameter in model.named_parameters() if id(parameter) in embeddings}
    return lambda name: name not in left_out and "bias" not in name.rpartition(".")[2]


def effective(model: Network) -> Network:
    """Make a model's weights plain parameters as they act, where they are parametrised, normed or pruned.

    A mask on the numbers that such a weight is computed from is not a mask on the weight: a norm without its vector is
    a division by zero.

    Returns:
        the model itself where there is nothing of the kind, else a copy in evaluation mode, with the names that the
        weights have in their modules: ``layer.weight``, not ``layer.parametrizations.weight.original``.
    """
    if not any(map(_computed, model.modules())):
        return model
    plain = copy_of(model).eval()
    for module in plain.modules():
        if parametrize.is_parametrized(module):
            _unparametrize(module)
        if prune.is_pruned(module):
            for name in [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]:
                if f"{name}_mask" in module._buffers:
                    prune.remove(module, name)
        for key, hook in list(module._forward_pre_hooks.items()):
            if type(hook).__name__ in NORMS:
                hook.remove(module)  # type: ignore[attr-defined]
                del module._forward_pre_hooks[key]
    return plain


@torch.no_grad()
def _unparametrize(module: nn.Module) -> None:
    """Give a copied module its former class; torch's own function would take the weight from the model, too."""
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}  # type: ignore[union-attr]
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=value.is_floating_point()))


def _computed(module: nn.Module) -> bool:
    """Whether a module computes one of its weights from other numbers at each call."""
    hooks = (type(hook).__name__ for hook in module._forward_pre_hooks.values())
    pruned = any(f"{name.removesuffix('_orig')}_mask" in module._buffers for name in module._parameters)
    return parametrize.is_parametrized(module) or pruned or any(name in NORMS for name in hooks)


def copy_of(model: Network) -> Network:
    """Copy a model deeply; tensors of a graph that the last call left on its modules are copied without it."""
    left: dict[int, object] = {}

    def note(value: object) -> None:
        if isinstance(value, torch.Tensor):
            if value.grad_fn is not None:
                left[id(value)] = value.detach().clone()
        elif isinstance(value, dict):
            for one in value.values():
                note(one)
        elif isinstance(value, list | tuple | set):
            for one in value:
                note(one)

    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                note(value)
    return copy.deepcopy(model, left)


KINDS = {  # a kind that cannot be called with other weights -> its name, and the model to give instead
    torch.jit.ScriptModule: "a scripted or traced model; give the module that it was made from",
    nn.DataParallel: "a DataParallel wrapper; give the module inside, model.module",
    nn.parallel.DistributedDataParallel: "a DistributedDataParallel wrapper; give the module inside, model.module",
}


def check_model(model: object) -> None:
    """Refuse a model whose weights cannot be replaced for a call, and say which one to give instead.

    Raises:
        ValueError: the model is no module, is wrapped, compiled, scripted or quantised, or has parameters without
            values.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"The model is a {type(model).__name__}; it must be a torch.nn.Module.")
    for kind, said in KINDS.items():
        if isinstance(model, kind):
            raise ValueError(f"The model is {said}.")
    if hasattr(model, "_orig_mod"):
        raise ValueError("The model is a compiled one; give the module that torch.compile was given, model._orig_mod.")
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__.split("."):
            raise ValueError(
                f"{name or 'The model'} is a quantised {type(module).__name__}, whose weights are no parameters; mask "
                "the model before it is quantised."
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"{name} has no values yet, since the model has lazily initialised modules; run it once on a batch "
                "and train it first."
            )


def chosen(
    model: nn.Module, where: Where | None, also: Callable[[str, torch.Size], bool] | None = None
) -> dict[str, nn.Parameter]:
    """Select the parameters to mask, by name: those that ``where`` is true for, of floating type, with weights.

    Args:
        also: a test of name and shape that parameters must pass, too.

    Raises:
        ValueError: no parameter is selected, or those selected are of several types.
    """
    where = where or weights_only(model)
    named = {name: p for name, p in model.named_parameters() if where(name) and (also is None or also(name, p.shape))}
    numbers = {name: p for name, p in named.items() if p.is_floating_point() and p.numel()}
    if left := [name for name in named if name not in numbers and named[name].numel()]:
        warnings.warn(f"{', '.join(left)} hold no real numbers and are not masked.", stacklevel=3)
    if not numbers:
        names = ", ".join(name for name, _ in model.named_parameters()) or "(the model has none)"
        raise ValueError(f"No parameter is selected for masking; `where` must be true for at least one of {names}.")
    types = {str(parameter.dtype).removeprefix("torch."): name for name, parameter in numbers.items()}
    if len(types) > 1:
        raise ValueError(
            f"The parameters to mask are of several types ({', '.join(f'{n} in {t}' for t, n in types.items())}); "
            "convert the model to one, for example with model.float(), or leave some out with `where`."
        )
    return numbers
