"""The Gumbel-sigmoid sampler (section 2 and appendix A): a readable reference, and the version that trains.

The reference is equations 1 to 3 as they stand. The training version (:mod:`modules_lib.masking.samplers`) draws the
same distribution with one uniform number a weight and sample instead of two and without a logarithm, and it keeps no
noise: the backward pass makes it again from its keys (:mod:`modules_lib.support.rng`).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modules_lib.masking.samplers import GumbelSigmoid, Sampler
from modules_lib.support.compile_torch import maybe_fused


def gumbel_sigmoid(logits: Tensor, u1: Tensor, u2: Tensor, tau: float = 1.0) -> Tensor:
    """Compute soft samples in [0, 1] from two uniform numbers in (0, 1) for every logit (equation 1)."""
    return torch.sigmoid((logits - torch.log(torch.log(u1) / torch.log(u2))) / tau)


def straight_through(samples: Tensor) -> Tensor:
    """Round samples to 0 or 1 in the forward pass; the gradient stays that of the soft samples (equation 2)."""
    return ((samples > 0.5).to(samples.dtype) - samples).detach() + samples


def flatten(tensor: Tensor, several: int = 0) -> Tensor:
    """Lay out a parameter or its gradient as a vector. Kernels lie channels last, where they are fastest.

    Args:
        several: 1 for K of them, [K, ...] -> [K, N].
    """
    return (tensor.movedim(several + 1, -1) if tensor.dim() > several + 3 else tensor).flatten(several)


def unflatten(flat: Tensor, shape: torch.Size) -> Tensor:
    """Invert :func:`flatten`, for one vector or for K; the result is a view."""
    several = flat.shape[:-1]
    if len(shape) > 3:
        return flat.view(*several, shape[0], *shape[2:], shape[1]).movedim(-1, len(several) + 1)
    return flat.view((*several, *shape))


def piece(start: int, size: int, positions: Tensor | None, *tensors: Tensor) -> list[Tensor]:
    """Cut a piece out of vectors [N], as samplers take it: its position, or those of all, and each vector's part.

    The position is a tensor, since a number would be compiled into the sampler. The pieces are detached, since the
    tensor that a view is of would be compiled in, too.
    """
    own = slice(start, start + size)
    at = _position(start, tensors[0].device) if positions is None else positions[own]
    return [part.detach() for part in (at, *(tensor[own] for tensor in tensors))]


@functools.cache  # for good, since a captured step reads it without asking
@torch.inference_mode(False)
def _position(start: int, device: torch.device) -> Tensor:
    """A position on the device, made once: pieces begin at the same ones in every step."""
    return torch.tensor(start, dtype=torch.int32, device=device)


def draw_masked(
    logits: Tensor,
    weights: Tensor,
    keys: Tensor,
    samples: int,
    start: int,
    size: int,
    fuse: bool,
    sampler: type[Sampler],
    positions: Tensor | None = None,
) -> Tensor:
    """Draw the weights from position ``start`` on under K samples: [K, size]."""
    out = weights.new_empty((samples, size))
    at, logits, weights = piece(start, size, positions, logits, weights)
    maybe_fused(sampler.masked, fuse)(logits, weights, keys, at, [row.detach() for row in out])
    return out


class _MaskWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        weights: Tensor,
        keys: Tensor,
        samples: int,
        shapes: list[torch.Size],
        fuse: bool,
        sampler: type[Sampler],
        positions: Tensor | None,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, weights, keys, positions)
        ctx.samples, ctx.shapes, ctx.fuse, ctx.sampler = samples, shapes, fuse, sampler
        out = draw_masked(logits, weights, keys, samples, 0, len(logits), fuse, sampler, positions)  # [K, N]
        pieces = out.split([shape.numel() for shape in shapes], 1)
        # One output for each parameter and sample: their gradients then come as they are, without being put together.
        return tuple(unflatten(pieces[i][k], shape) for k in range(samples) for i, shape in enumerate(shapes))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        to_logits = _gathered(ctx, ctx.sampler.logit_gradient, grads) if ctx.needs_input_grad[0] else None
        to_weights = _gathered(ctx, ctx.sampler.weight_gradient, grads) if ctx.needs_input_grad[1] else None
        return to_logits, to_weights, None, None, None, None, None, None


def _gathered(ctx: Any, function: Callable[..., None], grads: tuple[Tensor | None, ...]) -> Tensor:
    """The gradient [N] that the function makes, parameter by parameter, from the K gradients of each."""
    logits, weights, keys, positions = ctx.saved_tensors
    total, start = torch.empty_like(logits), 0
    for i, shape in enumerate(ctx.shapes):
        at, *pieces, out = piece(start, shape.numel(), positions, logits, weights, total)
        own = [
            torch.zeros_like(out) if grad is None else flatten(grad).detach() for grad in grads[i :: len(ctx.shapes)]
        ]
        maybe_fused(function, ctx.fuse)(*pieces, keys, at, out, own)
        start += shape.numel()
    return total


def mask_weights(
    logits: Tensor,
    weights: Tensor,
    keys: Tensor,
    samples: int = 1,
    shapes: Sequence[torch.Size] | None = None,
    fuse: bool = False,
    sampler: type[Sampler] = GumbelSigmoid,
    positions: Tensor | None = None,
) -> list[list[Tensor]]:
    """Mask the weights with K samples, by equations 1 to 3 at tau = 1 or by another sampler.

    Args:
        logits: mask logits l, float32 [N].
        weights: weights w, [N], of any floating type, which is that of the products.
        keys: the streams of noise (:func:`modules_lib.support.rng.mask_keys` for this K).
        samples: K.
        shapes: the shapes of the parameters whose weights lie one after another in [N]; by default all is one vector.
        fuse: compile the sampler (once a process, a few seconds); the numbers are the same.
        sampler: how a sample follows from logits and noise.
        positions: int32 [N], of the weights in the noise; by default they follow one another.

    Returns:
        for each sample, w * m in the parameters' shapes, with straight-through gradients for logits and weights.
    """
    shapes = list(shapes) if shapes is not None else [logits.shape]
    flat = _MaskWeights.apply(logits, weights, keys, samples, shapes, fuse, sampler, positions)
    return [list(flat[k * len(shapes) : (k + 1) * len(shapes)]) for k in range(samples)]
