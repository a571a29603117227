"""Addition and multiplication with shared inputs and outputs (section 3.1, appendix C): are different functions
kept apart (P1)? Stages: both operations, addition alone, multiplication alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from modules_lib.datasets import arithmetic
from modules_lib.datasets.arithmetic import OPERATIONS, Arithmetic
from modules_lib.masking.masks import Masks
from modules_lib.support.checks import check_choice
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.arithmetic_config import NetworkConfig
from reproduction.protocol.config import Config
from reproduction.protocol.frozen_config import networks, with_inverses

STAGES = {"full": ("add", "mul"), "add": ("add",), "mul": ("mul",)}


@dataclass(frozen=True, kw_only=True)
class AddMul(NetworkConfig):
    """The config of one network, "fnn" or "lstm", on the addition/multiplication task."""

    @classmethod
    def presets(cls, network: str) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        earlier = cls.before()  # of the choices that the paper leaves open: published runs of these scales have them
        small: dict[str, Any] = {"batch": 64, "weight_steps": 150, "mask_steps": 60, **earlier}
        large: dict[str, Any] = {"precision": "auto"}  # agrees with float32 within the noise of seeds
        if network == "fnn":
            rates: dict[str, Any] = {"mask_lr": 2e-2, **earlier}
            return {
                "smoke": cls(network=network, hidden=(48, 48), **small),
                "laptop": cls(
                    network=network, hidden=(400, 400, 200), weight_steps=8000, mask_steps=6000, **rates, **large
                ),
                "paper": cls(network=network, **large),
            }
        rates = {"weight_lr": 3e-3, "mask_lr": 3e-2, **earlier}
        return {
            "smoke": cls(network=network, hidden=(32, 32), **small),
            "laptop": cls(network=network, hidden=(128, 128), weight_steps=6000, mask_steps=3000, **rates, **large),
            "paper": cls(network=network, hidden=(256, 256), **large),
        }

    @property
    def experiment(self) -> str:
        return f"addmul-{self.network}"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(STAGES)

    @property
    def drawn(self) -> tuple[str, ...]:
        return tuple(OPERATIONS)

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return (tuple(OPERATIONS),)

    def model(self) -> nn.Module:
        return self._network(arithmetic.INPUTS, arithmetic.OUTPUTS, self.repeats)

    def data(self, stage: str) -> Arithmetic:
        return Arithmetic.of(*STAGES[check_choice("stage", stage, STAGES)], device=device())

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        return self._train_weights(seed, self.data("full"), arithmetic.loss, progress)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        return self._train_masks(model, seed, stage, self.data(stage), arithmetic.loss, progress)

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        return self._outcomes(model, with_inverses(masks)) + self._counts(masks)

    def asked(self, network: nn.Module) -> Rows:
        """Count how often the network gives the sum, the product or neither, asked for each operation."""
        rows: Rows = []
        for task in OPERATIONS:
            outcomes = arithmetic.outcomes(network, Arithmetic.of(task, device=device()))
            rows += [{"task": task, "metric": metric, "value": round(value, 4)} for metric, value in outcomes.items()]
        return rows

    def _outcomes(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """The outcomes of the unmasked network and of that under each mask, asked for each operation."""
        return [{"stage": stage, **row} for stage, network in networks(model, masks) for row in self.asked(network)]
