"""Adam over all mask logits at once, the penalty and the clipping of the gradient included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from modules_lib.masking.dead_weights import EVERY
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.samplers import in_kernels
from modules_lib.support.compile_torch import maybe_fused
from modules_lib.support.rng import BLOCK


@in_kernels("squared_norm")
def _squared_norm(gradient: Tensor, alpha: Tensor, out: Tensor) -> None:
    """The squared norm of the gradient of loss + alpha * (sum of logits), given the gradient of the loss."""
    whole = gradient + alpha
    out.copy_((whole * whole).sum())


@in_kernels("update")
def _update(
    values: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, alpha: Tensor, scale: Tensor, rates: Tensor
) -> None:
    """Adam (Kingma and Ba, 2015, algorithm 1); ``rates`` are the step's rate and the root of beta2's correction."""
    beta1, beta2, epsilon = BETAS[0], BETAS[1], EPSILON
    whole = (gradient + alpha) * scale
    mean.copy_(beta1 * mean + (1 - beta1) * whole)
    square.copy_(beta2 * square + (1 - beta2) * whole * whole)
    values.sub_(rates[0] * mean / (square.sqrt() / rates[1] + epsilon))


Rate = float | Callable[[int], float]  # of all steps, or number of steps taken -> rate of the next one

BETAS, EPSILON = (0.9, 0.999), 1e-8  # as everywhere
LOOK_EVERY = 100  # steps on a GPU between looks at the norm, each of which waits for it


class Moments:
    """Adam's moments of one vector, its rate, and the penalty's gradient: one for each of its numbers, or for all."""

    def __init__(self, of: Tensor, alpha: float | Tensor, rate: Rate):
        self.alpha = torch.as_tensor(alpha, dtype=torch.float32, device=of.device)
        self.mean, self.square = torch.zeros_like(of), torch.zeros_like(of)
        self.rate = rate if callable(rate) else lambda taken: rate
        self.tables: dict[int, Tensor] = {}  # the block of steps under way -> their rates

    def rates(self, taken: int) -> Tensor:
        """Find the rate and the root of beta2's correction for the step after so many: float32 [2].

        Those of BLOCK steps are worked out at once, in Python's double precision, so that a step copies nothing.
        """
        block, row = divmod(taken, BLOCK)
        if block not in self.tables:
            steps = range(block * BLOCK, (block + 1) * BLOCK)
            rows = [[self.rate(s) / (1 - BETAS[0] ** (s + 1)), (1 - BETAS[1] ** (s + 1)) ** 0.5] for s in steps]
            self.tables = {block: torch.tensor(rows, device=self.alpha.device)}
        return self.tables[block][row].detach()

    def keep(self, which: Tensor) -> None:
        """Go on with the numbers at these positions."""
        self.mean, self.square = self.mean[which], self.square[which]

    def load(self, mean: Tensor, square: Tensor) -> None:
        self.mean, self.square = (moment.to(self.alpha.device).clone() for moment in (mean, square))


class MaskAdam:
    """``clip_grad_norm_`` and ``torch.optim.Adam`` in one, after ``(loss + alpha * masked.logits.sum()).backward()``.

    It needs the gradient of the loss alone, and two passes over memory where the two need seven. ``steps`` is how many
    the stage has in all.

    A step is :meth:`update`, which the device makes alone, and :meth:`settle`, for which the host waits now and then.

    Attributes:
        looks_later: whether a CPU looks at the norm in :meth:`settle` alone, as a GPU does, instead of in every step.
    """

    def __init__(self, masked: MaskedModel, lr: Rate, alpha: float, clip: float, steps: int):
        self.masked, self.clip, self.in_all = masked, clip, steps
        self.steps, self.looks_later = 0, False
        self.logits = Moments(masked.logits, masked.price(alpha), lr)

    def step(self) -> None:
        """Update the logits from their gradient, which is then dropped.

        Raises:
            ValueError: the gradient is not finite; one such step would undo all logits.
        """
        self.settle(self.update(self.rates()))

    def trained(self) -> list[tuple[Tensor, Moments]]:
        """List the vectors that are trained; they are clipped together."""
        return [(self.masked.logits, self.logits)]

    def rates(self) -> list[Tensor]:
        """Take :meth:`Moments.rates` of the next step for each trained vector."""
        return [moments.rates(self.steps) for _, moments in self.trained()]

    @torch.no_grad()
    def update(self, rates: list[Tensor]) -> Tensor:
        """Move the trained vectors with these :meth:`rates`, and return the norm of their gradients, a scalar."""
        trained = self.trained()
        gradients = [vector.grad for vector, _ in trained if vector.grad is not None]
        for vector, _ in trained:
            vector.grad = None
        norm = self._norm(gradients, [moments for _, moments in trained])
        if norm.device.type == "cpu" and not self.looks_later:
            self._look(norm, self.steps + 1)
        scale = self._scale(norm)
        for (vector, moments), gradient, own_rates in zip(trained, gradients, rates, strict=True):
            own = moments.mean, moments.square, gradient, moments.alpha, scale, own_rates
            maybe_fused(_update, self.masked.fuse)(vector.detach(), *own)
        return norm

    @torch.no_grad()
    def settle(self, norm: Tensor) -> None:
        """Count a step with this norm; now and then look whether it is finite, and let dead weights leave.

        Raises:
            ValueError: it is not.
        """
        self.steps += 1
        if self.steps % LOOK_EVERY == 0:
            self._look(norm, self.steps)
        if self.steps % EVERY == 0:
            which = self.masked.drop_dead(self.logits.mean > 0, self.in_all - self.steps)
            if which is not None:
                self.keep(which)

    def keep(self, which: Tensor) -> None:
        """Go on with the logits at these positions, int64 [M], those that remained of the ones so far."""
        for _, moments in self.trained():
            moments.keep(which)

    def _scale(self, norm: Tensor) -> Tensor:
        """The factor that brings the norm within the limit; 1 where it is."""
        return (self.clip / (norm + 1e-6)).clamp(max=1.0)

    def _norm(self, gradients: list[Tensor], moments: list[Moments]) -> Tensor:
        squared = maybe_fused(_squared_norm, self.masked.fuse)
        parts = torch.zeros(len(gradients), device=self.logits.alpha.device)
        for gradient, own, part in zip(gradients, moments, parts, strict=True):
            squared(gradient, own.alpha, part)
        square = parts.sum()
        if dead := self.masked.count - len(self.logits.mean):  # they have the penalty's gradient alone
            square = square + dead * self.logits.alpha**2
        return square.sqrt()

    def _look(self, norm: Tensor, step: int) -> None:
        if not norm.isfinite():
            raise ValueError(
                f"The gradient of the loss is not finite at step {step} of mask training; look at that batch and "
                "its loss, which must be a finite number for every batch."
            )

    def state(self) -> dict[str, Tensor]:
        """List all tensors that the next step depends on."""
        batched = -1 if self.masked.batched is None else int(self.masked.batched)
        counts = torch.tensor([self.steps, self.masked.step, batched])
        living = {} if self.masked.living is None else {"living": self.masked.living}
        own = {"logits": self.masked.logits, "mean": self.logits.mean, "square": self.logits.square}
        return own | {"counts": counts} | living

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        self.masked.take_part(state.get("living"), state["logits"])
        self.logits.load(state["mean"], state["square"])
        self.steps, self.masked.step, batched = state["counts"].tolist()
        self.masked.batched = None if batched < 0 else bool(batched)
