"""The common part of the arithmetic experiments' configs: an FNN or an LSTM over one-hot digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from modules_lib.models.first_weights import FNN_WEIGHTS
from modules_lib.models.paper_networks import FNN, RepeatLSTM
from modules_lib.support.checks import check_choice, check_count
from reproduction.protocol.config import choice
from reproduction.protocol.frozen_config import FrozenConfig


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(FrozenConfig):
    """The config of an experiment on an FNN or an LSTM.

    Attributes:
        network: "fnn", or a name that begins with "lstm".
        hidden: units of the FNN's hidden layers; of the LSTM's layers, all of one size.
        repeats: steps over which an LSTM is shown its input.
        first_weights: of the network before training: "released", as in the paper's code, or "xavier"
            (see ``modules_lib.models.first_weights``).
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn", "lstm")

    network: str = "fnn"
    hidden: tuple[int, ...] = (2000, 2000, 2000, 2000)
    repeats: int = 3
    first_weights: str = choice("released", before="xavier")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("repeats", self.repeats)
        check_choice("network", self.network, self.NETWORKS)
        check_choice("kind of first weights", self.first_weights, FNN_WEIGHTS)
        object.__setattr__(self, "hidden", check_hidden(self.hidden, same=self.network != "fnn"))

    def _network(self, inputs: int, outputs: int, steps: int) -> nn.Module:
        if self.network == "fnn":
            return FNN(inputs, self.hidden, outputs, self.first_weights)
        return RepeatLSTM(inputs, self.hidden[0], outputs, len(self.hidden), steps, self.first_weights)

    def layers(self) -> dict[str, str]:
        between = range(1, len(self.hidden))
        if self.network == "fnn":
            labels = ["input", *(f"hidden {i}" for i in between), "output"]
            return {f"layers.{i}.weight": label for i, label in enumerate(labels)}
        names = {"lstm.weight_ih_l0": "input", "lstm.weight_hh_l0": "state 1"}
        for i in between:
            names |= {f"lstm.weight_ih_l{i}": f"state {i} to {i + 1}", f"lstm.weight_hh_l{i}": f"state {i + 1}"}
        return names | {"output.weight": "output"}


def check_hidden(hidden: Any, same: bool = False) -> tuple[int, ...]:
    """Check the sizes of a network's layers, and return them.

    Raises:
        ValueError: there is none, one is not a whole number of at least 1, or they differ and must be the same.
    """
    layers = tuple(hidden) if isinstance(hidden, tuple | list) else ()
    if not layers or any(not isinstance(n, int) or n < 1 for n in layers):
        raise ValueError(f"hidden is {hidden!r}; it must list at least one layer of at least one unit.")
    if same and len(set(layers)) > 1:
        raise ValueError(f"hidden is {hidden!r}; the layers of an LSTM have one size.")
    return layers
