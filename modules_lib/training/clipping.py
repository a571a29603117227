"""The gradients that are clipped together: the mask logits' alone, or all parameters', as in the released code."""

from __future__ import annotations

import torch
from torch import Tensor

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.training.mask_adam import MaskAdam, Rate


class ClippedWithWeights(MaskAdam):
    """Adam on the mask logits, where the clipped norm is that of all parameters, as in the paper's code.

    There the gradients of the frozen weights are never set to zero: each step adds its own to what was left of those
    before, and clipping scales the sum along with the gradient of the logits. The sum is therefore at most as long as
    the limit, whatever the number of steps.
    """

    def __init__(self, masked: MaskedModel, lr: Rate, alpha: float, clip: float, steps: int):
        super().__init__(masked, lr, alpha, clip, steps)
        masked.weights.requires_grad_()
        masked.frozen_get_gradients = True
        self.sums = {"masked weights": torch.zeros_like(masked.weights, dtype=torch.float32)}  # [M], like the logits
        others = masked.frozen_parameters()
        self.sums |= {name: torch.zeros_like(p, dtype=torch.float32) for name, p in others.items()}
        self.left = torch.zeros((), device=masked.weights.device)  # squared norm of the sums of weights that have left

    def keep(self, which: Tensor) -> None:
        super().keep(which)
        before = self.sums["masked weights"]
        self.sums["masked weights"] = before[which]
        self.left += before.square().sum() - self.sums["masked weights"].square().sum()

    def _scale(self, norm: Tensor) -> Tensor:
        frozen = {"masked weights": self.masked.weights, **self.masked.frozen_parameters()}
        for name, parameter in frozen.items():
            if parameter.grad is not None:
                self.sums[name] += parameter.grad
                parameter.grad = None
        squares = [norm.square(), self.left, *(s.square().sum() for s in self.sums.values())]
        scale = super()._scale(torch.stack(squares).sum().sqrt())
        for value in self.sums.values():
            value *= scale
        self.left *= scale * scale
        return scale

    def state(self) -> dict[str, Tensor]:
        sums = {f"sum/{name}": value for name, value in self.sums.items()}
        return super().state() | sums | {"sum of those that left": self.left}

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        super().load_state(state)
        device = self.left.device
        self.sums = {name: state[f"sum/{name}"].to(device).clone() for name in self.sums}
        self.left = state["sum of those that left"].to(device).clone()


CLIPPED: dict[str, type[MaskAdam]] = {"logits": MaskAdam, "everything": ClippedWithWeights}
