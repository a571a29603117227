"""Weights and masks learned together, one task after another in one network (appendix E).

The weights that a task uses are frozen when it is learned; the others start anew for the next task.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.masks import Masks
from modules_lib.masking.sample_weights import flatten
from modules_lib.support import rng as noise
from modules_lib.training.loops import Batch, Loss, cooled, run_steps
from modules_lib.training.mask_adam import MaskAdam, Moments
from modules_lib.training.progress import Loop


class JointAdam(MaskAdam):
    """One Adam for weights and mask logits; weights in use do not move by a bit.

    Args:
        masked: the model; its weights become trainable.
        used: bool [N], the weights to be left as they are.
        rates: of weights and of logits.
        alpha, clip: the penalty on each logit, the largest norm of both gradients together.
        steps, cooldown: how many there are, and the last proportion of them over which the rates fall to zero.
    """

    def __init__(
        self,
        masked: MaskedModel,
        used: Tensor,
        rates: tuple[float, float],
        alpha: float,
        clip: float,
        steps: int,
        cooldown: float,
    ):
        of_weights, of_logits = (lambda taken, rate=rate: cooled(rate, taken, steps, cooldown) for rate in rates)
        super().__init__(masked, of_logits, alpha, clip, steps)
        self.all_used, self.used = used, used
        masked.weights.requires_grad_()
        self.weights = Moments(masked.weights, 0.0, of_weights)

    def trained(self) -> list[tuple[Tensor, Moments]]:
        return [(self.masked.weights, self.weights), *super().trained()]

    def update(self, rates: list[Tensor]) -> Tensor:
        gradient = self.masked.weights.grad
        assert gradient is not None
        gradient.masked_fill_(self.used, 0.0)  # Adam's moments are then zero, too, and so is its step
        return super().update(rates)

    def keep(self, which: Tensor) -> None:
        super().keep(which)
        self.used = self.used[which]

    def state(self) -> dict[str, Tensor]:
        own = {"weights": self.masked.weights, "weight mean": self.weights.mean, "weight square": self.weights.square}
        return super().state() | own

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        super().load_state(state)
        self.masked.weights.copy_(state["weights"])
        self.weights.load(state["weight mean"], state["weight square"])
        living = self.masked.living
        self.used = self.all_used if living is None else self.all_used[living.long()]


def learn(
    model: nn.Module,
    used: Masks,
    batch: Batch,
    loss: Loss,
    *,
    steps: int,
    alpha: float,
    fresh: float,
    seed: int,
    stage: str,
    samples: int = 8,
    lr: float = 1e-2,
    mask_lr: float = 1e-2,
    clip: float = 1.0,
    cooldown: float = 0.0,
    old: float = 2.0,
    fuse: bool | None = None,
    loop: Loop | None = None,
) -> Masks:
    """Learn one task, its weights and masks together; all parameters are masked, biases too.

    Args:
        model: its free weights are drawn anew and trained; afterwards it holds the trained weights.
        used: the weights of earlier tasks, which stay as they are.
        lr, mask_lr: Adam's rates of the weights and of the logits; in the paper they are one.
        cooldown: the last proportion of the steps, over which both rates fall to zero in a straight line.
        old, fresh: the first mask logits of used and of free weights (2 is a probability of 0.88, 0 of 0.5).

    Returns:
        the weights that the task uses.
    """
    _start_anew(model, used, noise.key(seed, stage, "weights")[0] % 2**31)
    masked = MaskedModel(model, samples, lambda name: True, seed=seed, stage=stage, fuse=fuse)
    taken = torch.cat([flatten(used[name]) for name in masked.shapes]).to(masked.logits.device)  # [N]
    with torch.no_grad():
        masked.logits.copy_(torch.where(taken, old, fresh))
    training = JointAdam(masked, taken, (lr, mask_lr), alpha, clip, steps, cooldown)
    for _ in run_steps(masked, training, batch, loss, steps, loop):
        pass
    masked.write_weights()
    return masked.masks()


@torch.no_grad()
def _start_anew(model: nn.Module, used: Masks, seed: int) -> None:
    """Draw the free weights again, from Xavier's normal distribution with the gain of ReLU; free biases become zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        new = torch.zeros(parameter.shape)
        if parameter.dim() > 1:
            nn.init.xavier_normal_(new, nn.init.calculate_gain("relu"), generator)
        parameter.copy_(torch.where(used[name].to(parameter.device), parameter, new.to(parameter.device)))


def nothing_used(model: nn.Module) -> Masks:
    """Make the masks before the first task: all weights are free."""
    return Masks({name: torch.zeros(p.shape, dtype=torch.bool) for name, p in model.named_parameters()})
