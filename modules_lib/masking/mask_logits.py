"""The trained parameters: a mask logit for each chosen weight of a frozen model, or for each group of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from modules_lib.masking.dead_weights import WORTH, WORTH_COMPILING, Grid, grids_at, positions_of
from modules_lib.masking.groups import Groups, expanded
from modules_lib.masking.masks import Masks
from modules_lib.masking.sample_weights import flatten, unflatten
from modules_lib.masking.samplers import Sampler
from modules_lib.support.compile_torch import ready


class MaskLogits(nn.Module):
    """The logits of a model's masks, and the weights that they are for; dead ones may leave training.

    Args:
        model: frozen.
        selected: the parameters to mask, by name.
        groups: of their weights; None gives each weight a logit of its own.
        start: every logit's first value.
        compute: the type of the products; None for the model's own.

    Attributes:
        logits: float32 [N], of those weights that take part; of groups [G].
        weights: [N], in the type of the products.
        living: int32 [M], the positions of the weights that take part; None for all.
    """

    weights: Tensor
    model: nn.Module
    samples: int
    sampler: type[Sampler]
    fuse: bool
    batched: bool | None
    penalty: str

    def __init__(
        self,
        model: nn.Module,
        selected: dict[str, nn.Parameter],
        groups: Groups | None,
        start: float,
        compute: torch.dtype | None,
    ):
        super().__init__()
        # Not registered as a submodule: parameters() must give the logits alone.
        self.__dict__["model"] = model
        self.compute, self.groups = compute, groups
        self.shapes = {name: parameter.shape for name, parameter in selected.items()}
        self.sizes = [parameter.numel() for parameter in selected.values()]
        self.register_buffer("weights", self._cast(self._all_weights()))
        # float32 whatever the model's type: in bfloat16 a step of 1e-2 would be lost on a logit above 4.
        self.logits = nn.Parameter(self.weights.new_full((self.count,), start, dtype=torch.float32))
        self.forward_samples: Callable[..., object] | None = getattr(model, "forward_samples", None)
        self.living: Tensor | None = None
        self.grids: list[Grid] | None = None
        self._move(self.logits.device)

    def _cast(self, tensor: Tensor) -> Tensor:
        """float32 -> the type of the products; everything else stays as it is."""
        return tensor.to(self.compute) if self.compute is not None and tensor.dtype == torch.float32 else tensor

    def _named(self, flat: Tensor, left_out: Tensor | None = None) -> dict[str, Tensor]:
        """[N] -> named tensors in the model's shapes; weights that left training get ``left_out``'s values, or zero."""
        if self.groups:
            flat = expanded(self.groups, flat)
        if self.living is not None:
            left_out = flat.new_zeros(sum(self.sizes)) if left_out is None else left_out
            flat = left_out.index_copy(0, self.living.long(), flat)
        return self._split(flat)

    def _split(self, flat: Tensor) -> dict[str, Tensor]:
        """Numbers for all weights, [N], as named tensors in the model's shapes."""
        pieces = flat.split(self.sizes)
        return {name: unflatten(piece, shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the wrapped model along; ``to`` and ``cuda`` call this."""
        self.model._apply(fn, recurse)
        super()._apply(fn, recurse)
        self._move(self.logits.device)
        return self

    @torch.no_grad()
    def write_weights(self) -> None:
        """Write weights that were trained along with the logits into the wrapped model.

        Frozen weights, and those that have left training, stay there as they were before it.
        """
        if not self.weights.requires_grad:
            return
        parameters, before = dict(self.model.named_parameters()), self._all_weights()
        for name, weights in self._named(self.weights.detach().to(before.dtype), before).items():
            parameters[name].copy_(weights)

    @torch.no_grad()
    def drop_dead(self, falling: Tensor, steps: int) -> Tensor | None:
        """Leave rows and columns of dead weights out of training (:mod:`modules_lib.masking.dead_weights`).

        Only where linear layers run in one pass; groups, and models that run K sets of weights themselves, keep all.

        Args:
            falling: bool, for each of the logits, whether it goes further down.
            steps: how many are left; for few of them, compiling anew would take longer than it saves.

        Returns:
            int64 [M], which of the logits so far remain; None if all do.
        """
        if not self.batched or self.forward_samples is not None or self.groups:
            return None
        dead = (self.logits.detach() <= self.sampler.DEAD) & falling
        grids = self.grids or [Grid.all(shape, dead.device) for shape in self.shapes.values()]
        pieces = dead.split([grid.size for grid in grids])
        positions = positions_of([grid.living(piece) for grid, piece in zip(grids, pieces, strict=True)]).int()
        saved = (len(dead) - len(positions)) * self.samples * steps
        compiles = self.fuse and self.living is None and not ready(self.sampler.masked, dead.device)
        if len(positions) > WORTH * len(dead) or (compiles and saved < WORTH_COMPILING):
            return None
        which = positions.long() if self.living is None else torch.searchsorted(self.living, positions)
        self._take(positions, self.logits.detach()[which], self.weights.detach()[which])
        return which

    @torch.no_grad()
    def take_part(self, living: Tensor | None, logits: Tensor) -> None:
        """Go on with the weights at these positions, int32 [M] (None: all), and these logits [M]."""
        weights = self._cast(self._all_weights())
        if living is not None:
            weights = weights[living.to(weights.device).long()]
        self._take(living, logits.to(weights.device).clone(), weights)

    def _take(self, living: Tensor | None, logits: Tensor, weights: Tensor) -> None:
        self.logits, self.weights = nn.Parameter(logits), weights.requires_grad_(self.weights.requires_grad)
        self.living = living
        self.grids = None if living is None else grids_at(living.long(), list(self.shapes.values()))
        self._move(weights.device)

    def _move(self, device: torch.device) -> None:
        """Move what says where the weights are."""
        self.groups = self.groups and self.groups.to(device)
        self.living = None if self.living is None else self.living.to(device)
        self.grids = self.grids and [grid.to(device) for grid in self.grids]

    def _all_weights(self) -> Tensor:
        """[N], of the wrapped model, in its own type."""
        return torch.cat([flatten(p.detach()) for name, p in self.model.named_parameters() if name in self.shapes])

    @property
    def count(self) -> int:
        """How many logits there are, those of dead weights included."""
        return self.groups.count if self.groups else sum(self.sizes)

    def price(self, alpha: float) -> float | Tensor:
        """Give the penalty on each logit: alpha or, where each weight has its price, alpha times the group's size."""
        if self.groups is None or self.penalty == "group":
            return alpha
        return alpha * self.groups.sizes

    def masks(self) -> Masks:
        """Threshold the logits: a weight is kept where its probability exceeds one half.

        Raises:
            ValueError: a logit is not a number, so that nothing is known of its weight.
        """
        if self.logits.isnan().any():
            raise ValueError(
                "Some mask logits are not numbers, since a loss or its gradient was not finite; find the batch whose "
                "loss is not, and train the masks again."
            )
        return Masks(self._named(self.logits.detach() > 0))

    def probabilities(self) -> dict[str, Tensor]:
        """Give the probability of each weight to be kept, by parameter name; zero where it has left training."""
        return self._named(torch.sigmoid(self.logits.detach()))
