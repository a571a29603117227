"""Systematic generalisation on SCAN (section 4, appendix F): does a split's training set need the same weights as its
test set? Stages: the simple split as the full task, and again; then splits that leave out what follows from the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modules_lib.datasets import scan
from modules_lib.datasets.scan import ACTIONS, END, SPLITS, WORDS, Scan
from modules_lib.masking.masks import Masks
from modules_lib.models.encoder_decoder import DROPPED, EncoderDecoder
from modules_lib.models.first_weights import LSTM_WEIGHTS
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.device import device
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.config import Config, choice
from reproduction.protocol.frozen_config import FrozenConfig, networks

OUTPUT = "output.weight"
TOKENS = (*ACTIONS, "end")  # the tokens that the output layer writes, a row each


class OnSplits(FrozenConfig):
    """What the configs of all networks on SCAN have in common: stages, examples and measurements."""

    @property
    def stages(self) -> tuple[str, ...]:
        return ("full", *SPLITS)

    @property
    def drawn(self) -> tuple[str, ...]:
        return self.stages

    @property
    def compared(self) -> tuple[tuple[str, ...], ...]:
        return (("full", "simple"),)  # one task twice: what differs is noise

    def data(self, stage: str) -> Scan:
        """Load the commands that a stage trains with."""
        check_choice("stage", stage, self.stages)
        train, _ = scan.split("simple" if stage == "full" else stage)
        return Scan.of(train, device())

    def train(self, seed: int, progress: Progress) -> tuple[nn.Module, Rows]:
        return self._train_weights(seed, self.data("full"), scan.loss, progress)

    def find_masks(
        self, model: nn.Module, seed: int, stage: str, progress: Progress, made: Mapping[str, Masks] | None = None
    ) -> tuple[Masks, Rows]:
        return self._train_masks(model, seed, stage, self.data(stage), scan.loss, progress)

    def measure(self, model: nn.Module, masks: dict[str, Masks]) -> Rows:
        return self._exact_matches(networks(model, masks)) + self._counts(masks) + removed_by_token(masks)

    def _answered(self, network: Any, data: Scan) -> Tensor:
        """bool [M]: which commands a network answers with all their actions and their end."""
        return scan.answered(network, data)

    def _exact_matches(self, named: Iterable[tuple[str, nn.Module]]) -> Rows:
        """The proportion of commands answered exactly, of every split's test set, and by the number of actions."""
        every = scan.commands()
        data = Scan.of(every, device())
        tested = {name: _among(every, scan.split(name)[1]) for name in SPLITS}
        lengths = (data.actions >= 0).sum(1).cpu() - 1  # without the end
        rows: Rows = []
        for stage, network in named:
            right = self._answered(network, data)
            for name, chosen in tested.items():
                rows.append({"stage": stage, "task": name, "metric": "correct", "value": _mean(right[chosen])})
            for length in lengths.unique():
                value = _mean(right[lengths == length])
                rows.append({"stage": stage, "metric": "correct by length", "length": int(length), "value": value})
        return rows


@dataclass(frozen=True, kw_only=True)
class Splits(OnSplits):
    """The config of the encoder-decoder LSTM on SCAN.

    Attributes:
        batch: commands a step.
        embedding: size of the embeddings of words and actions, which are not masked.
        state: units of each of the two layers of encoder and decoder.
        dropout: its rate while weights are trained, between layers and in a second place:
        dropped: "embeddings", as in the released code, or "output", before the output layer.
        read_end: whether the encoder reads an end after the last word of a command, as in the released code.
        first_weights: of the LSTMs before training: "released", as in the paper's code, "xavier" or "pytorch"
            (see ``modules_lib.models.first_weights``).
    """

    batch: int = 256
    weight_steps: int = 25_000
    mask_steps: int = 25_000
    beta: float = 3e-5
    clip: float = 5.0
    embedding: int = 16
    state: int = 200
    dropout: float = 0.5
    dropped: str = choice("embeddings", before="output")
    read_end: bool = choice(True, before=False)
    first_weights: str = choice("released", before="pytorch")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("embedding", self.embedding)
        check_count("state", self.state)
        check_number("dropout", self.dropout, "0.5", below=1.0)
        check_choice("place of dropout", self.dropped, DROPPED)
        check_choice("kind of first weights", self.first_weights, LSTM_WEIGHTS)

    @classmethod
    def presets(cls) -> dict[str, Config]:
        """Make the config of each scale; smoke and laptop differ from the paper."""
        return {
            "smoke": cls(**cls.before(), batch=16, weight_steps=60, mask_steps=20, embedding=8, state=16),
            "laptop": cls(
                **cls.before(),
                batch=32,
                weight_steps=3500,
                weight_lr=4e-3,
                cooldown=0.4,
                mask_steps=1300,
                mask_lr=0.1,
                state=100,
                dropout=0.2,
            ),
            "paper": cls(precision="auto"),
        }

    @property
    def experiment(self) -> str:
        return "scan"

    def model(self) -> nn.Module:
        return EncoderDecoder(
            len(WORDS),
            len(TOKENS),
            END,
            embedding=self.embedding,
            state=self.state,
            dropout=self.dropout,
            dropped=self.dropped,
            read_end=self.read_end,
            first_weights=self.first_weights,
        )

    def layers(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for part in ("encoder", "decoder"):
            for i in range(2):
                into = f"{part} input" if i == 0 else f"{part} 1 to 2"
                names |= {f"{part}.weight_ih_l{i}": into, f"{part}.weight_hh_l{i}": f"{part} state {i + 1}"}
        return names | {OUTPUT: "output"}


def removed_by_token(masks: dict[str, Masks]) -> Rows:
    """Count the output weights of each token that any split needs, and those of them that each stage keeps."""
    rows: Rows = []
    needed = torch.stack([masks[name][OUTPUT] for name in SPLITS if name in masks]).any(0)  # [tokens, state]
    for i, token in enumerate(TOKENS):
        rows.append({"stage": "any split", "task": token, "metric": "needed", "value": int(needed[i].sum())})
        for stage, mask in masks.items():
            value = int((mask[OUTPUT][i] & needed[i]).sum())
            rows.append({"stage": stage, "task": token, "metric": "needed", "value": value})
    return rows


def _among(every: list[str], tests: list[str]) -> Tensor:
    """bool [commands]: which of all commands a split tests."""
    chosen = set(tests)
    return torch.tensor([command in chosen for command in every])


def _mean(right: Tensor) -> float:
    return round(float(right.double().mean()), 6)
