"""Adam over all mask logits at once, the penalty and the clipping of the gradient included."""

import torch
from torch import Tensor

from modules_lib.fused import maybe_fused
from modules_lib.living import EVERY
from modules_lib.masked import MaskedModel


def _squared_norm(gradient: Tensor, alpha: Tensor) -> Tensor:
    """Of the gradient of loss + alpha * (sum of logits), given that of the loss."""
    whole = gradient + alpha
    return (whole * whole).sum()


def _update(
    logits: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, alpha: Tensor, scale: Tensor, rates: Tensor
) -> None:
    """Adam (Kingma and Ba, 2015, algorithm 1); ``rates`` are the step's rate and the root of beta2's correction."""
    beta1, beta2, epsilon = BETAS[0], BETAS[1], EPSILON
    whole = (gradient + alpha) * scale
    mean.copy_(beta1 * mean + (1 - beta1) * whole)
    square.copy_(beta2 * square + (1 - beta2) * whole * whole)
    logits.sub_(rates[0] * mean / (square.sqrt() / rates[1] + epsilon))


BETAS, EPSILON = (0.9, 0.999), 1e-8  # as everywhere
LOOK_EVERY = 100  # steps on a GPU between looks at the norm, each of which waits for it


class MaskAdam:
    """What ``clip_grad_norm_`` and ``torch.optim.Adam`` do after ``(loss + masked.penalty(alpha)).backward()``.

    It needs the gradient of the loss alone, and two passes over memory where those need seven.
    """

    def __init__(self, masked: MaskedModel, lr: float, alpha: float, clip: float):
        self.masked, self.lr, self.clip = masked, lr, clip
        self.steps = 0
        self.alpha = torch.tensor(alpha, device=masked.logits.device)
        self.mean = torch.zeros_like(masked.logits)
        self.square = torch.zeros_like(masked.logits)

    @torch.no_grad()
    def step(self) -> None:
        """Update the logits from their gradient, which is then dropped.

        Raises:
            ValueError: the gradient is not finite; one such step would undo all logits.
        """
        self.steps += 1
        gradient, self.masked.logits.grad = self.masked.logits.grad, None
        square = maybe_fused(_squared_norm, self.masked.fuse)(gradient, self.alpha)
        dead = sum(self.masked.sizes) - len(self.mean)  # they have the penalty's gradient alone
        norm = (square + dead * self.alpha**2).sqrt()
        if (norm.device.type == "cpu" or self.steps % LOOK_EVERY == 0) and not norm.isfinite():
            raise ValueError(
                f"The gradient of the loss is not finite at step {self.steps} of mask training; look at that batch and "
                "its loss, which must be a finite number for every batch."
            )
        scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
        corrections = [1 - beta**self.steps for beta in BETAS]
        rates = torch.tensor([self.lr / corrections[0], corrections[1] ** 0.5], device=self.alpha.device)
        logits = self.masked.logits.detach()
        maybe_fused(_update, self.masked.fuse)(logits, self.mean, self.square, gradient, self.alpha, scale, rates)
        if self.steps % EVERY == 0:
            which = self.masked.drop_dead(self.mean > 0)
            if which is not None:
                self.mean, self.square = self.mean[which], self.square[which]

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on."""
        batched = -1 if self.masked.batched is None else int(self.masked.batched)
        counts = torch.tensor([self.steps, self.masked.step, batched])
        living = {} if self.masked.living is None else {"living": self.masked.living}
        return {"logits": self.masked.logits, "mean": self.mean, "square": self.square, "counts": counts} | living

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        self.masked.take_part(state.get("living"), state["logits"])
        self.mean, self.square = (state[name].to(self.alpha.device).clone() for name in ("mean", "square"))
        self.steps, self.masked.step, batched = state["counts"].tolist()
        self.masked.batched = None if batched < 0 else bool(batched)
