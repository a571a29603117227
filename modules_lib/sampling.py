"""The Gumbel-sigmoid sampler (section 2 and appendix A): a readable reference, and the version that trains.

The reference is equations 1 to 3 as they stand. The training version draws the same distribution with one uniform
number a weight and sample instead of two and without a logarithm, and it keeps no noise: the noise is a hash of
(seed, stage, step, sample, position), so that the backward pass makes it again and a run can be resumed anywhere.
"""

import functools
import hashlib
import logging
import warnings
from collections.abc import Callable
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


def uniforms(keys: Tensor, size: int) -> Tensor:
    """Uniform numbers in (0, 1) from a hash of key and position.

    Args:
        keys: int32 [K, 2], one stream a row.
        size: how many numbers of each stream.

    Returns:
        float32 [K, size], from 2^-24 to 1 - 2^-24 in steps of 2^-23: neither 0 nor 1 occurs.
    """
    x = torch.arange(size, dtype=torch.int32, device=keys.device) ^ keys[:, :1]  # [K, size]
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


def _logit_gradient(logits: Tensor, weights: Tensor, keys: Tensor, grad: Tensor) -> Tensor:
    """[K, N] gradient of the masked weights -> [N] gradient of the logits, by the straight-through estimator."""
    u = uniforms(keys, logits.shape[0])
    # s = a / (a + b) is equation 1 without logarithms, since log(U1) / log(U2) has logistic noise as its logarithm.
    a, b = u * torch.sigmoid(logits), (1 - u) * torch.sigmoid(-logits)
    slope = a * b / ((a + b) * (a + b))  # s (1 - s), [K, N]
    return (grad * slope).sum(0) * weights


def _weight_gradient(logits: Tensor, keys: Tensor, grad: Tensor) -> Tensor:
    u = uniforms(keys, logits.shape[0])
    return torch.where(u > torch.sigmoid(-logits), grad, 0.0).sum(0)


@functools.cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function fused into one pass over memory, or as it is where it cannot be compiled. Same numbers."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of CUDA that nobody asked for
    fused: Callable[..., Tensor] | None = torch.compile(function, dynamic=True)

    def call(*arguments: Tensor) -> Tensor:
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
    def forward(ctx: Any, logits: Tensor, weights: Tensor, keys: Tensor, fuse: bool) -> Tensor:
        ctx.save_for_backward(logits, weights, keys)
        ctx.pick = _compiled if fuse else lambda function: function
        return ctx.pick(_masked)(logits, weights, keys)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        logits, weights, keys = ctx.saved_tensors
        grad = grad.contiguous()
        to_logits = ctx.pick(_logit_gradient)(logits, weights, keys, grad) if ctx.needs_input_grad[0] else None
        to_weights = ctx.pick(_weight_gradient)(logits, keys, grad) if ctx.needs_input_grad[1] else None
        return to_logits, to_weights, None, None


def mask_weights(logits: Tensor, weights: Tensor, keys: Tensor, fuse: bool = False) -> Tensor:
    """Equations 1 to 3 at tau = 1: the weights under K binary mask samples.

    Args:
        logits: mask logits l, float32 [N].
        weights: weights w, float32 [N].
        keys: the streams of noise, int32 [K, 2] (see :func:`keys`).
        fuse: compile the sampler (once a process, a few seconds); the numbers are the same.

    Returns:
        w * m, float32 [K, N], with straight-through gradients for the logits and for the weights.
    """
    return _MaskWeights.apply(logits, weights, keys, fuse)
