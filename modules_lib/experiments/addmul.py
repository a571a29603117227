"""Addition and multiplication with shared inputs and outputs (section 3.1, appendix C): are different functions
kept apart (P1)? Stages: both operations, addition alone, multiplication alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from modules_lib.checks import check_choice, check_count
from modules_lib.data import arithmetic
from modules_lib.data.arithmetic import OPERATIONS, Arithmetic
from modules_lib.device import device
from modules_lib.experiments.config import Config
from modules_lib.masked import subnetwork
from modules_lib.masks import Masks
from modules_lib.models import FNN, RepeatLSTM
from modules_lib.progress import Progress, Rows

STAGES = {"full": ("add", "mul"), "add": ("add",), "mul": ("mul",)}


@dataclass(frozen=True, kw_only=True)
class AddMul(Config):
    """The config of one network on the addition/multiplication task.

    Attributes:
        network: "fnn" or "lstm".
        hidden: units of the FNN's hidden layers; of the LSTM's layers, all of one size.
        repeats: steps over which the LSTM is shown its input.
    """

    network: str = "fnn"
    hidden: tuple[int, ...] = (2000, 2000, 2000, 2000)
    repeats: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("repeats", self.repeats)
        check_choice("network", self.network, ("fnn", "lstm"))
        object.__setattr__(self, "hidden", check_hidden(self.hidden, same=self.network == "lstm"))

    @classmethod
    def presets(cls, network: str) -> dict[str, Config]:
        """The configs of each scale; what smoke and laptop change is what the paper does not."""
        small: dict[str, Any] = {"batch": 64, "weight_steps": 150, "mask_steps": 60}
        large: dict[str, Any] = {"precision": "auto"}  # agrees with float32 within the noise of seeds
        if network == "fnn":
            rates: dict[str, Any] = {"mask_lr": 2e-2}
            return {
                "smoke": cls(network=network, hidden=(48, 48), **small),
                "laptop": cls(
                    network=network, hidden=(400, 400, 200), weight_steps=8000, mask_steps=6000, **rates, **large
                ),
                "paper": cls(network=network, **large),
            }
        rates = {"weight_lr": 3e-3, "mask_lr": 3e-2}
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
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return (tuple(OPERATIONS),)

    def model(self) -> nn.Module:
        if self.network == "fnn":
            return FNN(arithmetic.INPUTS, self.hidden, arithmetic.OUTPUTS)
        return RepeatLSTM(arithmetic.INPUTS, self.hidden[0], arithmetic.OUTPUTS, len(self.hidden), self.repeats)

    def layers(self) -> dict[str, str]:
        return layers_of(self.network, len(self.hidden))

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        data = Arithmetic.of(*OPERATIONS, device=device())

        def batch(step: int) -> tuple[Tensor, Tensor]:
            return data.batch(self.batch, seed, "weights", step)

        return self._train_weights(seed, batch, arithmetic.loss, progress)

    def find_masks(self, model: nn.Module, seed: int, stage: str, progress: Progress) -> tuple[Masks, Rows]:
        return self._find_masks(model, seed, stage, STAGES[check_choice("stage", stage, STAGES)], progress)

    def _find_masks(
        self, model: nn.Module, seed: int, stage: str, operations: tuple[str, ...], progress: Progress
    ) -> tuple[Masks, Rows]:
        data = Arithmetic.of(*operations, device=device())

        def batch(step: int) -> tuple[Tensor, Tensor]:
            return data.batch(self.batch, seed, stage, "data", step)

        return self._train_masks(model, seed, stage, batch, arithmetic.loss, progress)

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        inverted = {f"not {stage}": ~mask for stage, mask in masks.items() if stage != "full"}
        return self._outcomes(model, masks | inverted) + self._counts(masks)

    def _outcomes(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """What the unmasked network and those under each mask do, asked for each operation."""
        questions = {task: Arithmetic.of(task, device=device()) for task in OPERATIONS}
        rows: Rows = []
        for stage in ("unmasked", *masks):
            network = subnetwork(model, masks[stage]) if stage in masks else model
            for task, data in questions.items():
                outcomes = arithmetic.outcomes(network, data)
                rows += [
                    {"stage": stage, "task": task, "metric": metric, "value": round(value, 4)}
                    for metric, value in outcomes.items()
                ]
        return rows


def check_hidden(hidden: Any, same: bool) -> tuple[int, ...]:
    """The sizes of a network's layers, if they are such.

    Raises:
        ValueError: there is none, one is not a whole number of at least 1, or they differ and must be the same.
    """
    layers = tuple(hidden) if isinstance(hidden, tuple | list) else ()
    if not layers or any(not isinstance(n, int) or n < 1 for n in layers):
        raise ValueError(f"hidden is {hidden!r}; it must list at least one layer of at least one unit.")
    if same and len(set(layers)) > 1:
        raise ValueError(f"hidden is {hidden!r}; the layers of an LSTM have one size.")
    return layers


def layers_of(network: str, count: int) -> dict[str, str]:
    """The masked parameters of an FNN or LSTM with that many hidden layers, and what figures call them."""
    if network == "fnn":
        labels = ["input", *(f"hidden {i}" for i in range(1, count)), "output"]
        return {f"layers.{i}.weight": label for i, label in enumerate(labels)}
    names = {"lstm.weight_ih_l0": "input", "lstm.weight_hh_l0": "state 1"}
    for i in range(1, count):
        names |= {f"lstm.weight_ih_l{i}": f"state {i} to {i + 1}", f"lstm.weight_hh_l{i}": f"state {i + 1}"}
    return names | {"output.weight": "output"}
