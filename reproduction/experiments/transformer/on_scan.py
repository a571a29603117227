"""Systematic generalisation on SCAN in a transformer (beside section 4): masks of weights and of heads, for each split.

Stages: those of the LSTM; masks over attention heads, for each split; and networks trained on a split alone, which
have no masks and tell how much of a mask's loss is the split's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from modules_lib.datasets import scan
from modules_lib.datasets.scan import END, LONGEST_COMMAND, MOST_ACTIONS, SPLITS, WORDS, Scan
from modules_lib.masking.masks import Masks
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.training.mask_training import Settings
from modules_lib.training.progress import Progress, Rows
from reproduction.experiments.scan import OUTPUT, TOKENS, OnSplits
from reproduction.experiments.transformer.network import Transformer
from reproduction.protocol.config import Config
from reproduction.protocol.frozen_config import networks

HARDER = SPLITS[1:]  # the splits that leave something out
# Layers of a block -> their names in figures.
IN_BLOCK = {"self_attn": "attention", "multihead_attn": "attention to words"}
LINEAR = {"linear1": "feedforward in", "linear2": "feedforward out"}


def heads_of(split: str) -> str:
    """Name the stage of a split's masks over heads: ``length heads``."""
    return f"{split} heads"


def alone(split: str) -> str:
    """Name the stage of the network that is trained on a split alone: ``length alone``."""
    return f"{split} alone"


@dataclass(frozen=True)
class Taught(Scan):
    """Commands and actions for a network that is always taught; in a batch the shortest answers come first."""

    def batch(self, size: int, *stream: int | str) -> tuple[tuple[Tensor, Tensor], Tensor]:  # type: ignore[override]
        """Draw (commands [size, 9], actions [size, 49]), actions [size, 49], as :meth:`Scan.batch` does."""
        (words, actions, _), _ = super().batch(size, *stream)
        order = (actions >= 0).sum(1).argsort(stable=True)
        return (words[order], actions[order]), actions[order]


@dataclass(frozen=True, kw_only=True)
class SplitsInTransformer(OnSplits):
    """The config of the encoder-decoder transformer on SCAN. Defaults are the released code's.

    Attributes:
        batch: commands a step.
        state: size of the embeddings, which are not masked, and of all states.
        heads: of each attention layer.
        blocks: of the encoder, and as many of the decoder.
        feedforward: units between the two linear layers of a block.
        dropout: its rate while weights are trained.
        head_steps: steps of Adam on the logits of heads, in each stage.
        head_lr: its rate.
    """

    batch: int = 256
    weight_steps: int = 25_000
    mask_steps: int = 25_000
    beta: float = 6e-4
    clip: float = 5.0
    state: int = 100
    heads: int = 4
    blocks: int = 3
    feedforward: int = 200
    dropout: float = 0.1
    head_steps: int = 5000
    head_lr: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("state", "heads", "blocks", "feedforward", "head_steps"):
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        check_number("head_lr", self.head_lr, "1e-2", above=True)
        check_number("dropout", self.dropout, "0.1", below=1.0)
        if self.state % 2 or self.state % self.heads:
            raise ValueError(f"state is {self.state}; it must be even, and divisible by the {self.heads} heads.")

    @classmethod
    def presets(cls) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the released code's."""
        paper = cls(precision="auto")
        small: dict[str, Any] = {"clipped": "logits", "precision": "float32", "dropout": 0.0, "blocks": 2}
        steps: dict[str, dict[str, Any]] = {
            "smoke": {"batch": 16, "weight_steps": 60, "mask_steps": 20, "head_steps": 10},
            "laptop": {
                "batch": 32,
                "weight_steps": 2400,
                "weight_lr": 2e-3,
                "cooldown": 0.4,
                "start": 4.0,  # at 2.0, sampled masks break the network, and the loss says little of single weights
                "mask_steps": 1000,
                "mask_lr": 0.05,
                "head_steps": 150,
                "head_lr": 0.1,
                "beta": 7.5e-5,  # as at the paper's scale, alpha is 2.3e-6
            },
        }
        return {
            "smoke": replace(paper, state=16, feedforward=32, **small, **steps["smoke"]),
            "laptop": replace(paper, state=64, feedforward=128, **small, **steps["laptop"]),
            "paper": paper,
        }

    @property
    def experiment(self) -> str:
        return "scan-transformer"

    @property
    def stages(self) -> tuple[str, ...]:
        return (*super().stages, *map(heads_of, SPLITS), *map(alone, HARDER))

    @property
    def drawn(self) -> tuple[str, ...]:
        return super().stages

    def work(self) -> int:
        weights = (1 + len(HARDER)) * self.weight_steps
        return weights + len(super().stages) * self.mask_steps + len(SPLITS) * self.head_steps

    def model(self) -> nn.Module:
        return Transformer(
            len(WORDS),
            len(TOKENS),
            END,
            max(LONGEST_COMMAND, MOST_ACTIONS) + 1,
            state=self.state,
            heads=self.heads,
            blocks=self.blocks,
            feedforward=self.feedforward,
            dropout=self.dropout,
        )

    def layers(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for part, layers in {"encoder": ("self_attn",), "decoder": tuple(IN_BLOCK)}.items():
            for i in range(self.blocks):
                block, called = f"{part}.layers.{i}", f"{part} {i + 1}"
                for layer in layers:
                    names[f"{block}.{layer}.in_proj_weight"] = f"{called}, {IN_BLOCK[layer]} in"
                    names[f"{block}.{layer}.out_proj.weight"] = f"{called}, {IN_BLOCK[layer]} out"
                names |= {f"{block}.{layer}.weight": f"{called}, {name}" for layer, name in LINEAR.items()}
        return names | {OUTPUT: "output"}

    def data(self, stage: str) -> Scan:
        split = check_choice("stage", stage, self.stages).partition(" ")[0]
        data = super().data(split)
        return Taught(data.commands, data.actions)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        """Find masks of weights or of heads; or train a network on a split alone, which keeps all of its weights."""
        data = self.data(stage)
        if stage.endswith(" alone"):
            network, rows = self._train_weights(seed, data, scan.loss, progress, name=stage)
            whole = Masks(
                {name: torch.ones_like(network.get_parameter(name), dtype=torch.bool) for name in self.layers()}
            )
            return whole, rows + self._exact_matches([(stage, network)])
        if stage.endswith(" heads"):
            config = replace(self, mask_steps=self.head_steps, mask_lr=self.head_lr)
            heads: Settings = {"unit": "head", "heads": self.heads, "penalty": "weight"}
            return config._train_masks(model, seed, stage, data, scan.loss, progress, more=heads)
        return self._train_masks(model, seed, stage, data, scan.loss, progress, self.layers().__contains__)

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        """Measure masks of weights as the LSTM's, and those of heads: exact matches, and the heads that they keep."""
        rows = super().measure(model, {stage: masks[stage] for stage in super().stages})
        found = {stage: masks[stage] for stage in map(heads_of, SPLITS)}
        rows += self._exact_matches(one for one in networks(model, found) if one[0] in found)
        return rows + [row for stage, mask in found.items() for row in self._heads(stage, mask)]

    def _heads(self, stage: str, mask: Masks) -> Rows:
        """Whether a mask keeps each head, by attention layer: 1 or 0."""
        rows: Rows = []
        for name, layer in self.layers().items():
            if name.endswith("out_proj.weight"):
                kept = mask[name].view(self.state, self.heads, -1).any(2).any(0)
                for i, value in enumerate(kept.int().tolist()):
                    place = {"layer": layer.removesuffix(" out"), "task": f"head {i + 1}"}
                    rows.append({"stage": stage, **place, "metric": "head kept", "value": value})
        return rows

    def _answered(self, network: nn.Module, data: Scan) -> Tensor:
        """bool [M]: as greedy decoding answers, computed in one pass."""
        return cast(Transformer, network).right(data.commands, data.actions).cpu()
