"""Two additions in networks that reuse one adder to a known degree: would the masks see it? (positive controls of P2)

Stages, of each network: both pairs, pair 1, pair 1 with other noise, pair 2. The sharing of two masks of one pair is
that of a network which reuses everything."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.analysis.compare import sharing
from modules_lib.datasets import double_addition as double
from modules_lib.datasets.double_addition import PAIRS, DoubleAddition
from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.models.paper_networks import FNN
from modules_lib.support.checks import check_choice
from modules_lib.training.loops import Loss
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.double import STAGES, Double
from reproduction.protocol.config import Config

DIGITS, SUMS = double.INPUTS // 2, double.OUTPUTS // 2  # of one pair
AGAIN = "pair-1 again"
# Variant -> the strength of the pull: none, and five doses.
PULLS = {"none": 0.0, "dose-1": 0.003, "dose-2": 0.01, "dose-3": 0.03, "dose-4": 0.1, "dose-5": 0.3}
MADE = ("copied", "built-in")  # networks that reuse by construction
VARIANTS = (*PULLS, *MADE)
# A pair, with the inner weights of another mask -> that mask's stage.
EXCHANGED = {"pair-1": "pair-2", "pair-2": "pair-1", AGAIN: AGAIN}


class PairsFNN(FNN):
    """An FNN on two pairs whose training may favour or force one computation for both.

    Args:
        inputs, hidden, outputs, first_weights: as of :class:`~modules_lib.models.paper_networks.FNN`.

    Attributes:
        pulled: whether it returns, in training, the distance between the computations, too.
        one_adder: whether both pairs enter and leave, in training, through the weights of the first.
    """

    pulled = one_adder = False

    def forward(self, x: Tensor) -> Any:
        """[batch, P, 80] -> [batch, P, 40]; with the distance, a scalar from 0 to 2, where that is wanted."""
        if self.one_adder and self.training:
            first, second = x.split(DIGITS, -1)
            answers = super().forward(F.pad(first + second, (0, DIGITS)))  # one of them is zero
            return answers[..., :SUMS].repeat(1, 1, 2)
        answers = super().forward(x)
        return (answers, torch.stack(self.distances(x)).mean()) if self.pulled and self.training else answers

    def distances(self, x: Tensor) -> list[Tensor]:
        """Measure in each hidden layer how far the network's states differ between two places of the same question.

        Each is |h1 - h2|^2 / (|h1|^2 + |h2|^2), where h2 are the states with the pairs' inputs exchanged: 0 where both
        are computed alike, 1 where in separate units.
        """
        found = []
        for here, there in zip(self._states(x), self._states(x.roll(DIGITS, -1)), strict=True):
            size = here.square().sum() + there.square().sum()
            found.append((here - there).square().sum() / size.clamp(min=1e-12))
        return found

    def _states(self, x: Tensor) -> list[Tensor]:
        states = []
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
            states.append(x)
        return states

    def _outer(self) -> tuple[nn.Linear, nn.Linear]:
        """The first and the last layer, parts of which belong to one pair each."""
        return cast(nn.Linear, self.layers[0]), cast(nn.Linear, self.layers[-1])

    @torch.no_grad()
    def copy_first_pair(self) -> None:
        """Give pair 2 the first and last weights of pair 1."""
        first, last = self._outer()
        first.weight[:, DIGITS:] = first.weight[:, :DIGITS]
        last.weight[SUMS:], last.bias[SUMS:] = last.weight[:SUMS], last.bias[:SUMS]


@dataclass(frozen=True, kw_only=True)
class Reuse(Double):
    """The config of several FNNs on two additions, each made to reuse its inner weights in a way, and to a degree.

    Attributes:
        variants: the networks: "none", trained as in the paper; "dose-1" to "dose-5", with a penalty on the distance
            between the pairs' computations; "copied", where pair 2 is given pair 1's first and last weights after
            training; "built-in", where both pairs are trained as one, and the same weights are then given to both.
    """

    NETWORKS: ClassVar[tuple[str, ...]] = ("fnn",)

    variants: tuple[str, ...] = VARIANTS

    def __post_init__(self) -> None:
        super().__post_init__()
        variants = tuple(self.variants) if isinstance(self.variants, tuple | list) else ()
        if not variants or len(set(variants)) < len(variants):
            raise ValueError(f"variants is {self.variants!r}; it must list at least one, each once.")
        for variant in variants:
            check_choice("variant", variant, VARIANTS)
        object.__setattr__(self, "variants", variants)

    @classmethod
    def presets(cls, network: str = "fnn") -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper's double addition."""
        paper = cls(network=network, beta=4e-4, precision="auto")
        few = ("none", "dose-5", "copied", "built-in")
        smaller: dict[str, dict[str, Any]] = {
            "smoke": {"hidden": (48, 48), "batch": 64, "weight_steps": 100, "mask_steps": 20, "variants": few},
            "laptop": {
                "hidden": (200, 200, 100),
                "weight_steps": 2500,
                "weight_lr": 2e-3,
                "mask_steps": 2000,
                "mask_lr": 5e-2,
                "beta": 2e-4,
            },
            "paper": {},
        }
        return {scale: replace(paper, **changes) for scale, changes in smaller.items()}

    @property
    def experiment(self) -> str:
        return "reuse"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(stage_of(part, variant) for variant in self.variants for part in _parts(variant))

    @property
    def drawn(self) -> tuple[str, ...]:
        return ()

    def work(self) -> int:
        return len(self.variants) * self.weight_steps + len(self.stages) * self.mask_steps

    def model(self) -> nn.Module:
        return nn.ModuleDict({variant: self._network_of(variant) for variant in self.variants})

    def _network_of(self, variant: str) -> PairsFNN:
        model = PairsFNN(double.INPUTS, self.hidden, double.OUTPUTS, self.first_weights)
        model.pulled, model.one_adder = variant.startswith("dose"), variant == "built-in"
        return model

    def data(self, stage: str) -> DoubleAddition:
        """Make the questions of a stage, of whichever variant."""
        return super().data(stage.partition(" (")[0].removesuffix(" again"))

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        """Train every variant, and copy the outer weights of those that have the same for both pairs."""
        data = self.data("full")
        networks, rows = nn.ModuleDict(), []
        for variant in self.variants:
            pull = PULLS.get(variant, 0.0)
            loss = functools.partial(_pulled, data.loss, pull) if pull else data.loss
            make = functools.partial(self._network_of, variant)
            network, curve = self._train_weights(seed, data, loss, progress, make, stage_of("weights", variant))
            if variant in MADE:
                cast(PairsFNN, network).copy_first_pair()
            networks[variant] = network
            rows += curve
        return networks, rows

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        variant = check_choice("stage", stage, self.stages).partition(" (")[2].removesuffix(")")
        data, network = self.data(stage), cast(nn.ModuleDict, model)[variant]
        masks, rows = self._train_masks(network, seed, stage, data, data.loss, progress)
        return Masks({f"{variant}.{name}": mask for name, mask in masks.items()}), rows

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure each variant as double addition, and what tells of reuse."""
        rows: Rows = []
        for variant in self.variants:
            network = cast(PairsFNN, cast(nn.ModuleDict, model)[variant])
            own = {
                part: Masks({name.removeprefix(f"{variant}."): m for name, m in masks[stage_of(part, variant)].items()})
                for part in _parts(variant)
            }
            rows += [{**row, "stage": stage_of(row["stage"], variant)} for row in self._measured(network, own)]
        return rows

    def _measured(self, network: PairsFNN, masks: dict[str, Masks]) -> Rows:
        """Measure one variant: as double addition; with exchanged inner weights; a pair with itself; the distance."""
        rows = super().measure(network, masks)
        inner = list(self.layers())[1:-1]
        for place, other in EXCHANGED.items():
            if other not in masks:
                continue
            pair = place.removesuffix(" again")
            mixed = Masks({name: masks[other if name in inner else pair][name] for name in masks[pair]})
            right = dict(zip(PAIRS, super().data("full").accuracies(subnetwork(network, mixed)), strict=True))
            rows.append({"stage": f"inner of {other}", "task": pair, "metric": "correct", "value": right[pair]})
        for name, layer in [*self.layers().items(), (None, "total")] if AGAIN in masks else []:
            value = sharing(masks["pair-1"], masks[AGAIN], name=name)
            rows.append({"stage": AGAIN, "layer": layer, "metric": "sharing", "value": round(value, 6)})
        inputs, _ = super().data("full").batch(2000, "reuse", "distance")
        with torch.no_grad():
            distance = float(torch.stack(network.distances(inputs)).mean())
        return [*rows, {"stage": "unmasked", "layer": "total", "metric": "distance", "value": round(distance, 6)}]


def _parts(variant: str) -> tuple[str, ...]:
    """The stages of a variant; those of a dose are compared with one another and need no second mask of pair 1."""
    return tuple(STAGES) if variant.startswith("dose") else (*STAGES, AGAIN)


def _pulled(loss: Loss, pull: float, outputs: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
    answers, distance = outputs
    return loss(answers, targets) + pull * distance


def stage_of(part: str, variant: str) -> str:
    """Name the stage of a variant, or its measurements."""
    return f"{part} ({variant})"
