"""Addition and multiplication masked at many betas (section 2, Figure 7): how much depends on the penalty's strength?

The weights are trained once. Stages: both operations, addition and multiplication at every beta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import OPERATIONS
from modules_lib.masking.masks import Masks
from modules_lib.support.checks import check_choice, check_number
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.addmul import STAGES, AddMul
from reproduction.experiments.capacity import SHORTER, resized
from reproduction.protocol.config import Config
from reproduction.protocol.stage import Stage, stage_at

FACTORS = (0.1, 0.178, 0.316, 0.562, 1.0, 1.78, 3.16, 5.62, 10.0)  # two decades in equal ratios
HIDDEN = {  # laptop, paper (its "medium" and "big"); both solve the task with room to spare
    "small": ((300, 300, 150), (800, 800, 800, 800)),
    "large": ((400, 400, 200), (2000, 2000, 2000, 2000)),
}


@dataclass(frozen=True, kw_only=True)
class Sweep(AddMul):
    """The config of one FNN on the addition/multiplication task, masked at many betas.

    Attributes:
        size: its name: "small" or "large".
        factors: the betas, as multiples of ``beta``.
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn",)

    size: str = "large"
    factors: tuple[float, ...] = FACTORS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("size", self.size, HIDDEN)
        factors = tuple(self.factors) if isinstance(self.factors, tuple | list) else ()
        if not factors:
            raise ValueError(f"factors is {self.factors!r}; it must list at least one multiple of beta, for example 1.")
        factors = tuple(check_number("a factor", factor, "3.16", above=True) for factor in factors)
        names = [f"{factor:.3g}" for factor in factors]
        if len(set(names)) < len(names):
            raise ValueError(f"factors is {self.factors!r}; they must differ in their first three digits.")
        object.__setattr__(self, "factors", factors)

    @classmethod
    def presets(cls, size: str) -> dict[str, Config]:
        few = {"factors": FACTORS[::4]}
        return resized(cls, size, HIDDEN[size], smoke=few, laptop=SHORTER | few)

    @property
    def experiment(self) -> str:
        return f"sweep-{self.size}"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage_at(stage, factor) for factor in self.factors for stage in STAGES)

    @property
    def drawn(self) -> tuple[str, ...]:
        at_middle = self.size == "large" and 1.0 in self.factors
        return tuple(stage_at(stage, 1.0) for stage in OPERATIONS) if at_middle else ()

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(stage_at(stage, factor) for stage in OPERATIONS) for factor in self.factors)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Find masks as at one beta, but without curves and histograms, of which there would be too many."""
        asked = Stage.read(check_choice("stage", stage, self.stages))
        [factor] = [factor for factor in self.factors if stage_at(asked.task, factor) == stage]
        config = replace(self, beta=factor * self.beta)
        masks, _ = config._train_masks(model, seed, stage, self.data(asked.task), arithmetic.loss, progress)
        return masks, []

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure as at one beta, at each; without inverted masks."""
        return self._outcomes(model, masks) + self._counts(masks)
