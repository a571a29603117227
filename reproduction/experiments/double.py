"""Two additions with inputs and outputs of their own (section 3.2, appendix D): is one function learned once and used
twice (P2)? Stages: both pairs, pair 1 alone, pair 2 alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from modules_lib.datasets import double_addition as double
from modules_lib.datasets.double_addition import PAIRS, DoubleAddition
from modules_lib.masking.masks import Masks
from modules_lib.support.checks import check_choice
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.arithmetic_config import NetworkConfig
from reproduction.protocol.config import Config
from reproduction.protocol.frozen_config import networks, with_inverses

STAGES = {"full": (0, 1), "pair-1": (0,), "pair-2": (1,)}


@dataclass(frozen=True, kw_only=True)
class Double(NetworkConfig):
    """The config of one network on two additions.

    Attributes:
        network: "fnn" is shown one pair in each of two passes; "lstm" both pairs at once, all the time; "lstm-apart"
            first one pair and then the other.
        repeats: steps over which an LSTM is shown each pair; both at once take twice as many.
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn", "lstm", "lstm-apart")

    @classmethod
    def presets(cls, network: str) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        earlier = cls.before()  # of the choices that the paper leaves open: published runs of these scales have them
        small: dict[str, Any] = {"batch": 64, "weight_steps": 150, "mask_steps": 60, **earlier}
        large: dict[str, Any] = {"precision": "auto"}
        if network == "fnn":
            every: dict[str, Any] = {"network": network, "beta": 4e-4}
            shorter: dict[str, Any] = {"weight_steps": 3000, "mask_steps": 4000, "mask_lr": 3e-2, **earlier}
            return {
                "smoke": cls(hidden=(48, 48), **small, **every),
                "laptop": cls(hidden=(400, 400, 200), **shorter, **large, **every),
                "paper": cls(**large, **every),
            }
        steps = {"lstm": 5000, "lstm-apart": 2000}[network]
        shorter = {"repeats": 2, "weight_steps": steps, "mask_steps": 2000, "mask_lr": 6e-2, **earlier}
        return {
            "smoke": cls(network=network, hidden=(32, 32), **small),
            "laptop": cls(network=network, hidden=(128, 128), **shorter, **large),
            "paper": cls(network=network, hidden=(256, 256), **large),
        }

    @property
    def experiment(self) -> str:
        return f"double-{self.network}"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(STAGES)

    @property
    def drawn(self) -> tuple[str, ...]:
        return tuple(PAIRS)

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return (PAIRS,)

    def model(self) -> nn.Module:
        at_once = len(PAIRS) if self.network == "lstm" else 1
        return self._network(double.INPUTS, double.OUTPUTS, at_once * self.repeats)

    def data(self, stage: str) -> DoubleAddition:
        """Make the questions of a stage. The other pair's input is zero, and its sum is left out."""
        asked = STAGES[check_choice("stage", stage, STAGES)]
        shown: list[tuple[int, ...]]
        if self.network == "fnn":
            shown, read = [(pair,) for pair in asked], list(enumerate(asked))
        elif self.network == "lstm":
            shown, read = [asked], [(0, pair) for pair in asked]
        else:  # what comes after the last answer does not matter
            shown = [(pair,) if pair in asked else () for pair in range(max(asked) + 1)]
            read = [(pair, pair) for pair in asked]
        return DoubleAddition.of(tuple(shown), tuple(read), device=device())

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        data = self.data("full")
        return self._train_weights(seed, data, data.loss, progress)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        data = self.data(stage)
        return self._train_masks(model, seed, stage, data, data.loss, progress)

    def asked(self, network: nn.Module) -> Rows:
        """Measure accuracy on each pair, shown as in weight training ("correct"); for LSTMs also "alone"."""
        rows: Rows = [
            {"task": pair, "metric": "correct", "value": value}
            for pair, value in zip(PAIRS, self.data("full").accuracies(network), strict=True)
        ]
        for pair in PAIRS if self.network != "fnn" else ():  # for the FNN that is the same
            rows.append({"task": pair, "metric": "alone", "value": self.data(pair).accuracies(network)[0]})
        return rows

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        found = networks(model, with_inverses(masks))
        rows = [{"stage": stage, **row} for stage, network in found for row in self.asked(network)]
        return rows + self._counts(masks)
