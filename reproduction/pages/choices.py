"""The choices that the paper leaves open, and their effects: + and × in its smallest network (Figure 9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
from IPython.display import Markdown

from modules_lib.analysis.theme import count
from reproduction.experiments import preset
from reproduction.protocol.config import Config
from reproduction.runs.measures import by_layer, number, outcome
from reproduction.runs.published import published

EXPERIMENT = "capacity-small"  # 400-400-200 units, at the paper's own steps
RELEASED, XAVIER = "the released code's choices, but for clipping", "Xavier's first weights"
CHOICES: dict[str, dict[str, Any]] = {
    RELEASED: {},
    XAVIER: {"first_weights": "xavier"},
    "a first probability of 90% (logit 2.2)": {"start": 2.2},
    "8 mask samples a batch": {"samples": 8},
    "1 mask sample a batch": {"samples": 1},
    "products in float32": {"precision": "float32"},
    "clipping with the frozen weights' gradients, as released": {"clipped": "everything"},
}
COLUMNS = (
    "what is chosen",
    "runs",
    "× / + weights",
    "× mask asked to add: sum, product, neither",
    "+ mask asked to multiply: sum, product, neither",
    "output layer, × / full",
    "+ shares in hidden layers",
    "× right without +",
    "+ right without ×",
)


def configs() -> dict[str, Config]:
    """Make the config of each choice, by its name in tables: one thing differs from the first."""
    base = preset(EXPERIMENT, "paper", clipped="logits")
    return {called: replace(base, **changes) for called, changes in CHOICES.items()}


def choices_table() -> Markdown:
    """Tabulate each choice that was measured: mean and unbiased standard deviation over its published runs."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    for called, config in configs().items():
        frame = published(config)
        if not frame.empty:
            lines.append(f"| {' | '.join([called, str(frame['seed'].nunique()), *_cells(frame)])} |")
    return Markdown("\n".join(lines))


def _cells(frame: pd.DataFrame) -> list[str]:
    add, mul, full = (by_layer(frame, stage, "kept") for stage in ("add", "mul", "full"))
    hidden = [layer for layer in add.columns if layer.startswith("hidden")]
    shared = by_layer(frame, "add", "sharing")[hidden].mean(axis=1)
    return [
        number(mul["total"] / add["total"], "x"),
        _answers(frame, "mul", "add"),
        _answers(frame, "add", "mul"),
        number(mul["output"] / full["output"]),
        number(shared),
        number(outcome(frame, "not add", "mul")),
        number(outcome(frame, "not mul", "add")),
    ]


def _answers(frame: pd.DataFrame, mask: str, asked: str) -> str:
    return ", ".join(number(outcome(frame, mask, asked, answer)) for answer in ("add", "mul", "none"))


def first_weights_matter() -> Markdown:
    """Say what the mask of multiplication does when it is asked to add, under either choice of first weights."""
    said = []
    for called, config in configs().items():
        frame = published(config)
        if called in (RELEASED, XAVIER) and not frame.empty:
            product, neither = (number(outcome(frame, "mul", "add", answer)) for answer in ("mul", "none"))
            runs = count(frame["seed"].nunique(), "run")
            said.append(f"With {called}, it gives the product in {product} and neither result in {neither} ({runs}).")
    return Markdown(
        "How far this goes seems to depend on a choice that the paper does not mention, the weights before training. "
        "In its smallest network (400-400-200 units, at the paper's own steps), the mask of multiplication "
        f"is asked to add. {' '.join(said)} All other settings are the same. "
        "[A table](reproducibility.ipynb) has the effects of other such choices."
    )
