"""Samplers, which make mask samples from logits and noise: the paper's, and two others to compare it with.

A sampler is three functions over pieces of flat vectors, each of which is one pass over memory when compiled.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from modules_lib.support.checks import check_choice
from modules_lib.support.compile_torch import in_cpp, ready
from modules_lib.support.rng import mask_noise

in_kernels = partial(in_cpp, Path(__file__).with_name("mask_kernels.cpp"), "Functions of mask training")


class Sampler(ABC):
    """The interface of a sampler; after training, every sampler keeps the weights whose logits are above zero.

    In each function logits and weights [n] are those from position ``start`` on, or those at the positions ``start``
    [n]; ``out`` is written to.

    Attributes:
        DEAD: with a logit up to this a weight is in no sample and has next to no gradient, so that training may leave
            it out (:mod:`modules_lib.masking.dead_weights`). A class that does not say so itself keeps all.
    """

    DEAD = -math.inf

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        cls.DEAD = cls.__dict__.get("DEAD", -math.inf)  # a class's limit need not hold for classes derived from it

    @staticmethod
    @abstractmethod
    def masked(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: list[Tensor]) -> None:
        """Write the weights under each of K mask samples to ``out``, K times [n]."""

    @staticmethod
    @abstractmethod
    def logit_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        """Write the gradient [n] of the logits, from K gradients [n] of masked weights."""

    @staticmethod
    @abstractmethod
    def weight_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        """Write the gradient [n] of the weights, from K gradients [n] of masked weights."""


class GumbelSigmoid(Sampler):
    """Equations 1 and 2 at tau = 1: a weight is kept or not, with the gradient of the soft sample (the paper's)."""

    DEAD = -20.0  # kept with a probability below 2^-28, where the noise ends at 1 - 2^-24

    @staticmethod
    @in_kernels("masked")
    def masked(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: list[Tensor]) -> None:
        removed = torch.sigmoid(-logits)
        for sample, u in zip(out, mask_noise(keys, len(out), len(logits), start), strict=True):
            # Equation 1 at tau = 1 exceeds 0.5 exactly where u > 1 - p.
            sample.copy_(torch.where(u > removed, weights, 0.0))

    @staticmethod
    @in_kernels("logit_gradient")
    def logit_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        small = torch.sigmoid(-logits.abs())  # the smaller of p and 1 - p, which 1 - p might round away
        large = 1 - small
        p, q = torch.where(logits > 0, large, small), torch.where(logits > 0, small, large)
        total = torch.zeros_like(logits)
        for grad, u in zip(grads, mask_noise(keys, len(grads), len(logits), start), strict=True):
            # s = u p / (u p + (1 - u) q) is equation 1 without logarithms, since log(U1) / log(U2) has logistic noise
            # as its logarithm. s (1 - s) follows; its factor p q is taken out of the sum.
            bottom = q + u * (p - q)
            total = total + grad.float() * ((u - u * u) / (bottom * bottom))
        out.copy_(total * (p * q * weights))

    @staticmethod
    @in_kernels("weight_gradient")
    def weight_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        removed = torch.sigmoid(-logits)
        total = torch.zeros_like(logits)
        for grad, u in zip(grads, mask_noise(keys, len(grads), len(logits), start), strict=True):
            total = total + torch.where(u > removed, grad.float(), 0.0)
        out.copy_(total)


class HardConcrete(Sampler):
    """A soft sample, stretched beyond [0, 1] and clipped to it, so that many are exactly 0 or 1.

    Louizos, Welling and Kingma, "Learning sparse neural networks through L0 regularization" (2018), section 2.2, with
    their constants. The penalty is the same as for the other samplers, on the logits.
    """

    TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
    DEAD = -20.0  # from -18.3 on, the largest number of the noise gives a gate of zero, which has no gradient

    @staticmethod
    def masked(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: list[Tensor]) -> None:
        for sample, u in zip(out, mask_noise(keys, len(out), len(logits), start), strict=True):
            sample.copy_(_stretched(logits, u).clamp(0.0, 1.0) * weights)

    @staticmethod
    def logit_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        low, high, temperature = HardConcrete.LOW, HardConcrete.HIGH, HardConcrete.TEMPERATURE
        total = torch.zeros_like(logits)
        for grad, u in zip(grads, mask_noise(keys, len(grads), len(logits), start), strict=True):
            gate = _stretched(logits, u)
            # d gate / d logit in terms of the gate; no gradient where it is clipped
            slope = (gate - low) * (high - gate) / ((high - low) * temperature)
            total = total + torch.where((gate > 0) & (gate < 1), grad.float() * slope, 0.0)
        out.copy_(total * weights)

    @staticmethod
    def weight_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        total = torch.zeros_like(logits)
        for grad, u in zip(grads, mask_noise(keys, len(grads), len(logits), start), strict=True):
            total = total + _stretched(logits, u).clamp(0.0, 1.0) * grad.float()
        out.copy_(total)


def _stretched(logits: Tensor, u: Tensor) -> Tensor:
    """[n], [n] -> gates in (LOW, HIGH)."""
    soft = torch.sigmoid((torch.log(u) - torch.log1p(-u) + logits) / HardConcrete.TEMPERATURE)
    return soft * (HardConcrete.HIGH - HardConcrete.LOW) + HardConcrete.LOW


class StraightThrough(Sampler):
    """No noise: a weight is kept where its logit is above zero, with the gradient of the logit's sigmoid.

    Bengio, Léonard and Courville, "Estimating or propagating gradients through stochastic neurons" (2013), section 4.
    All mask samples of a batch are the same one.
    """

    DEAD = -20.0  # a logit below zero keeps no weight; here its slope is 2e-9

    @staticmethod
    def masked(logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: list[Tensor]) -> None:
        kept = torch.where(logits > 0, weights, 0.0)
        for sample in out:
            sample.copy_(kept)

    @staticmethod
    def logit_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        p = torch.sigmoid(logits)
        out.copy_(_summed(logits, grads) * (p * (1 - p) * weights))

    @staticmethod
    def weight_gradient(
        logits: Tensor, weights: Tensor, keys: Tensor, start: Tensor, out: Tensor, grads: list[Tensor]
    ) -> None:
        out.copy_(torch.where(logits > 0, _summed(logits, grads), 0.0))


def _summed(like: Tensor, grads: list[Tensor]) -> Tensor:
    total = torch.zeros_like(like)
    for grad in grads:
        total = total + grad.float()
    return total


SAMPLERS: dict[str, type[Sampler]] = {
    "gumbel-sigmoid": GumbelSigmoid,
    "hard-concrete": HardConcrete,
    "straight-through": StraightThrough,
}


def sampler_of(sampler: str | type[Sampler]) -> type[Sampler]:
    """Find the sampler of a name; a sampler class is returned as it is.

    Raises:
        ValueError: there is no such sampler, or the class lacks one of its functions.
    """
    if not isinstance(sampler, type):
        return SAMPLERS[check_choice("sampler", sampler, SAMPLERS)]
    # Samplers are used without an instance, so that Python itself would not notice.
    lacking = sorted(sampler.__abstractmethods__) if issubclass(sampler, Sampler) else ["its base class"]
    if lacking:
        raise ValueError(
            f"{sampler.__name__} is no whole sampler: it lacks {', '.join(lacking)}; derive it from "
            "modules_lib.masking.samplers.Sampler and define masked, logit_gradient and weight_gradient."
        )
    return sampler


def worth_compiling(sampler: type[Sampler], weights: Iterable[Tensor], samples: int, steps: int | None = None) -> bool:
    """Decide whether to compile a sampler.

    One that is there in C++ for the weights' device costs nothing. Torch's compiler takes ten seconds of a core; it
    saves milliseconds a step, and some twenty nanoseconds a mask sample.

    Args:
        sampler: the sampler.
        weights: those that it masks.
        samples: K, mask samples a step.
        steps: that are trained; None where nobody knows. Samples are then worth it if those of one step take ten
            milliseconds without the compiler.
    """
    weights = list(weights)
    if weights and ready(sampler.masked, weights[0].device):
        return True
    drawn = samples * sum(one.numel() for one in weights)
    return drawn >= 400_000 if steps is None else steps >= 500 or steps * drawn >= 1_000_000_000
