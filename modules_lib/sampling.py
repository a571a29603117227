"""The Gumbel-sigmoid sampler (section 2 and appendix A): a readable reference, and the version that trains.

The reference is equations 1 to 3 as they stand. The training version draws the same distribution with one uniform
number a weight and sample instead of two and without a logarithm, and it keeps no noise: the noise is a hash of
(seed, stage, step, sample, position), so that the backward pass makes it again and a run can be resumed anywhere.
"""

import functools
import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def gumbel_sigmoid(logits: Tensor, u1: Tensor, u2: Tensor, tau: float = 1.0) -> Tensor:
    """Equation 1: soft samples in [0, 1], from two uniform numbers in (0, 1) for every logit."""
    return torch.sigmoid((logits - torch.log(torch.log(u1) / torch.log(u2))) / tau)


def straight_through(samples: Tensor) -> Tensor:
    """Equation 2: samples rounded to 0 or 1 in the forward pass, with the gradient of the soft samples."""
    return ((samples > 0.5).to(samples.dtype) - samples).detach() + samples


def key(*parts: int | str) -> tuple[int, int]:
    """Two signed 32-bit words that name one stream of random numbers, e.g. ``key(seed, "add", step, sample)``."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little", signed=True), int.from_bytes(digest[4:], "little", signed=True)


def keys(*parts: int | str, count: int, device: torch.device | str = "cpu") -> Tensor:
    """``key(*parts, i)`` for i below ``count``. Returns int32 [count, 2]."""
    return torch.tensor([key(*parts, i) for i in range(count)], dtype=torch.int32, device=device)


# Odd multipliers of a 32-bit mixing function with low bias, found by search: C. Wellons, "Prospecting for hash
# functions" (2018). The second is written as the signed number with the same 32 bits.
_MIX_1, _MIX_2 = 0x7FEB352D, 0x846CA68B - (1 << 32)


def uniforms(keys: Tensor, size: int, start: Tensor | int = 0) -> Tensor:
    """Uniform numbers in (0, 1) from a hash of key and position.

    Args:
        keys: int32 [K, 2], one stream a row.
        size: how many numbers of each stream.
        start: the position of the first.

    Returns:
        float32 [K, size], from 2^-24 to 1 - 2^-24 in steps of 2^-23: neither 0 nor 1 occurs.
    """
    position = torch.arange(size, dtype=torch.int32, device=keys.device) + start
    x = position ^ keys[:, :1]  # [K, size]
    # Shifts of signed integers copy the sign; the masks make them logical. Products wrap modulo 2^32. The second
    # key word enters between the rounds: two streams are then never shifted copies of one another.
    x = (x ^ ((x >> 16) & 0xFFFF)) * _MIX_1 + keys[:, 1:]
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _MIX_2
    x = x ^ ((x >> 16) & 0xFFFF)
    # 23 bits and a half: one bit more would round up to exactly 1, where the sampler's slope is 0 / 0.
    return (((x >> 9) & 0x7FFFFF).float() + 0.5) * 2.0**-23


def integers(keys: Tensor, size: int, below: int) -> Tensor:
    """Uniform integers from 0 to ``below - 1``. Returns int64 [K, size]."""
    # A float32 close to 1 times `below` can round up to `below`.
    return (uniforms(keys, size) * below).long().clamp_(max=below - 1)


def _masked(logits: Tensor, weights: Tensor, keys: Tensor) -> Tensor:
    """[N], [N], [K, 2] -> [K, N]: each weight, or zero where its sample says so."""
    u = uniforms(keys, logits.shape[0])
    # With p = sigmoid(l), equation 1 at tau = 1 exceeds 0.5 exactly where u > 1 - p.
    return torch.where(u > torch.sigmoid(-logits), weights, 0.0)


def _logit_gradient(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, *grads: Tensor) -> None:
    """K gradients [n] of masked weights -> gradient [n] of their logits, by the straight-through estimator.

    Logits, weights and out are the flat pieces that begin at position ``start``; out is written.
    """
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    total = torch.zeros_like(logits)
    for k, grad in enumerate(grads):
        u = uniforms(keys[k : k + 1], logits.shape[0], start)[0]
        # s = a / (a + b) is equation 1 without logarithms, since log(U1) / log(U2) has logistic noise as its logarithm.
        a, b = u * p, (1 - u) * q
        total = total + grad.float() * (a * b / ((a + b) * (a + b)))  # s (1 - s)
    out.copy_(total * weights)


def _weight_gradient(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, *grads: Tensor) -> None:
    """K gradients [n] of masked weights -> gradient [n] of the weights: the sum over samples that keep them."""
    q = torch.sigmoid(-logits)
    total = torch.zeros_like(logits)
    for k, grad in enumerate(grads):
        u = uniforms(keys[k : k + 1], logits.shape[0], start)[0]
        total = total + torch.where(u > q, grad.float(), 0.0)
    out.copy_(total)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function fused into one pass over memory, or as it is where it cannot be compiled. Same numbers."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of CUDA that nobody asked for
    fused: Callable[..., Any] | None = torch.compile(function, dynamic=True)

    def call(*arguments: Tensor) -> Any:
        nonlocal fused
        if fused is not None:
            try:
                return fused(*arguments)
            except Exception as error:  # no compiler, no Python headers, no Triton: torch has a type for each
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"The mask sampler could not be compiled ({reason}): it runs about ten times slower, with the same "
                    "results; a C++ compiler and Python's headers are what it needs.",
                    stacklevel=2,
                )
                fused = None
        return function(*arguments)

    return call


class _MaskWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, weights: Tensor, keys: Tensor, shapes: list[torch.Size], fuse: bool
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, weights, keys)
        ctx.shapes = shapes
        ctx.pick = _compiled if fuse else lambda function: function
        masked = ctx.pick(_masked)(logits, weights, keys)  # [K, N]
        pieces = masked.split([shape.numel() for shape in shapes], 1)
        # One output for each parameter and sample: their gradients then come as they are, without being put together.
        return tuple(
            piece[k].view(shape) for piece, shape in zip(pieces, shapes, strict=True) for k in range(len(keys))
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        to_logits = _gathered(ctx, _logit_gradient, grads) if ctx.needs_input_grad[0] else None
        to_weights = _gathered(ctx, _weight_gradient, grads) if ctx.needs_input_grad[1] else None
        return to_logits, to_weights, None, None, None


def _gathered(ctx: Any, function: Callable[..., None], grads: tuple[Tensor | None, ...]) -> Tensor:
    """The function's [N], made parameter by parameter from the K gradients of each."""
    logits, weights, keys = ctx.saved_tensors
    function, samples, start = ctx.pick(function), len(keys), 0
    out = torch.empty_like(logits)
    for i, shape in enumerate(ctx.shapes):
        end = start + shape.numel()
        own = [
            torch.zeros_like(weights[start:end]) if grad is None else grad.reshape(-1)
            for grad in grads[i * samples : (i + 1) * samples]
        ]
        position = torch.tensor(start, dtype=torch.int32, device=logits.device)
        function(logits[start:end], weights[start:end], keys, position, out[start:end], *own)
        start = end
    return out


def mask_weights(
    logits: Tensor, weights: Tensor, keys: Tensor, shapes: Sequence[torch.Size] | None = None, fuse: bool = False
) -> list[list[Tensor]]:
    """Equations 1 to 3 at tau = 1: the weights under K binary mask samples.

    Args:
        logits: mask logits l, float32 [N].
        weights: weights w, [N], of any floating type, which is that of the products.
        keys: the streams of noise, int32 [K, 2] (see :func:`keys`).
        shapes: the shapes of the parameters whose weights lie one after another in [N]; by default all is one vector.
        fuse: compile the sampler (once a process, a few seconds); the numbers are the same.

    Returns:
        for each sample, w * m in the parameters' shapes, with straight-through gradients for logits and weights.
    """
    shapes = list(shapes) if shapes is not None else [logits.shape]
    flat = _MaskWeights.apply(logits, weights, keys, shapes, fuse)
    return [list(flat[k :: len(keys)]) for k in range(len(keys))]
