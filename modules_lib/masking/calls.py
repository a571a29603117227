"""Calls of a model that leave nothing behind on it, and whether calls in different ways agree."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from modules_lib.masking.selection import copy_of
from modules_lib.models.packing import recurrence_with_gradient
from modules_lib.support.trees import agree, holds_tensors, leaves

OWN = frozenset(vars(nn.Module()))  # attributes that every module has
BLOCKS = torch.utils.checkpoint


@contextlib.contextmanager
def undisturbed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Give modules back the attributes, lists and dicts that they had, where a call left tensors there.

    They belong to the graph of that call: a weight that a hook computed, or activations that were kept.
    """
    before = [
        (module, {name: (value, _copied(value)) for name, value in vars(module).items() if name not in OWN})
        for module in modules
    ]
    try:
        yield
    finally:
        for module, had in before:
            own = vars(module)
            for name in [name for name in own if name not in OWN]:
                if name not in had:
                    if holds_tensors(own[name]):
                        del own[name]
                elif own[name] is not had[name][0] and holds_tensors([own[name], had[name][0]]):
                    own[name] = had[name][0]
            for value, copied in had.values():
                if copied is not None and holds_tensors([value, copied]):
                    value.clear()
                    value.extend(copied) if isinstance(value, list) else value.update(copied)


def _copied(value: Any) -> Any:
    """A shallow copy of a list or dict; None for anything else."""
    return value.copy() if type(value) in (list, dict) else None


class _Plain:
    """In place of a function of torch's that runs a block again in the backward pass: the block runs once."""

    @staticmethod
    def apply(function: Any, _: bool, *arguments: Any) -> Any:
        return function(*arguments)


def _nothing_saved(*_: Any, **__: Any) -> Iterator[None]:
    yield


@contextlib.contextmanager
def blocks_run_once() -> Iterator[None]:
    """Switch gradient checkpointing off: a block that is run again in the backward pass would see other weights."""
    names = ("_checkpoint_without_reentrant_generator", "_checkpoint_without_reentrant_generator_impl")
    instead = {"CheckpointFunction": _Plain, **dict.fromkeys(names, _nothing_saved)}
    there = {name: getattr(BLOCKS, name) for name in instead if hasattr(BLOCKS, name)}
    try:
        for name in there:
            setattr(BLOCKS, name, instead[name])
        yield
    finally:
        for name, function in there.items():
            setattr(BLOCKS, name, function)


def scalar_of(outputs: Sequence[Any], generator: torch.Generator) -> Tensor | None:
    """Sum all outputs that depend on weights, each number times a random one; None where there is none."""
    total = None
    for output in outputs:
        if isinstance(output, Tensor) and output.requires_grad:
            drawn = torch.randn(output.shape, generator=generator, device=output.device, dtype=torch.float32)
            part = (output.float() * drawn).sum()
            total = part if total is None else total + part
    return total


def difference(
    at_once: Callable[[int], Any], by_slices: Callable[[int], Any], logits: Tensor, kind: torch.dtype
) -> str:
    """Compare one pass over a batch with passes over its slices, outputs and gradients.

    Args:
        at_once, by_slices: number of a draw of masks from ``logits`` -> outputs.
        logits: [N], those of the draws.
        kind: the type of the products, which decides how large rounding may be.

    Returns:
        a clause that names a difference beyond rounding; empty where there is none.
    """
    ours, theirs, others = at_once(0), by_slices(0), by_slices(1)
    if not agree(ours, theirs, others):
        return "its outputs are not those of the slices"
    if _gradients_agree(ours, theirs, logits, kind) or _gradients_agree(at_once(1), others, logits, kind):
        return ""  # beside a kink of the model rounding can turn the gradients of one draw
    return "its gradients are not those of the slices"


def _gradients_agree(ours: Any, theirs: Any, logits: Tensor, kind: torch.dtype) -> bool:
    own, other = (_gradient(outputs, logits) for outputs in (ours, theirs))
    return own is None or other is None or _near(own, other, kind)


def _gradient(outputs: Any, logits: Tensor) -> Tensor | None:
    total = scalar_of(leaves(outputs), torch.Generator(device=logits.device).manual_seed(0))
    return None if total is None else torch.autograd.grad(total, logits, allow_unused=True)[0]


def wrong_gradients(
    model: nn.Module, weights: Mapping[str, Tensor], call: Callable[[Mapping[str, Tensor]], Any], part: Any
) -> str:
    """Compare gradients of weights put in for one call with those of a copy of the model that owns them.

    Args:
        model: any.
        weights: parameter -> the weights to put in.
        call: the model's outputs with such weights put in, for the arguments ``part``.

    Returns:
        the name of a weight whose gradient differs by more than rounding; empty where none does, or none is known.
    """
    put = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    try:
        twin = copy_of(model)
    except Exception:  # some modules cannot be copied
        return ""
    own = dict(twin.named_parameters())
    for name, weight in put.items():
        own[name].data = weight.detach().clone(memory_format=torch.contiguous_format)
        own[name].requires_grad_()
    inputs, named = part
    try:
        with recurrence_with_gradient(twin), blocks_run_once():
            reference = scalar_of(leaves(twin(*inputs, **named)), _generator(put))
            expected = torch.autograd.grad(reference, [own[name] for name in put], allow_unused=True)  # type: ignore[arg-type]
    except Exception:  # the model has its own reasons
        return ""
    ours = scalar_of(leaves(call(put)), _generator(put))
    if ours is None:
        return ""
    found = torch.autograd.grad(ours, list(put.values()), allow_unused=True)
    for name, one, other in zip(put, found, expected, strict=True):
        if other is not None and (one is None or not _near(one, other, one.dtype)):
            return name
    return ""


def _generator(weights: Mapping[str, Tensor]) -> torch.Generator:
    return torch.Generator(device=next(iter(weights.values())).device).manual_seed(0)


def _near(one: Tensor, other: Tensor, kind: torch.dtype) -> bool:
    """Whether gradients are the same but for rounding; where they are not finite, nothing is known."""
    one, other = one.float(), other.float()
    if not (one.isfinite().all() and other.isfinite().all()):
        return True
    limit = 1e-2 if kind in (torch.float32, torch.float64) else 1e-1
    return bool((one - other).norm() <= limit * other.norm() + 1e-12)
