"""What the control for beta trains again in each chapter, and what it then shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from modules_lib.datasets.images import CLASSES
from modules_lib.masking.masks import Masks
from modules_lib.training.progress import Progress, Rows
from reproduction.figures import addmul, captions, cifar, double, permuted, scan
from reproduction.figures.names import Results
from reproduction.protocol.config import Config
from reproduction.runs.measurements import COLUMNS
from reproduction.runs.measures import (
    DOUBLE,
    NETWORKS,
    PAIR_NAMES,
    SPLIT_NAMES,
    TASKS,
    by_layer,
    confusions,
    number,
    outcome,
    tasks_learned,
)
from reproduction.runs.store import Run


@dataclass(frozen=True)
class Redrawn:
    """A figure of the chapter, of retrained masks beside the published ones.

    Attributes:
        draw: the value chosen, published results and those of the retrained masks -> the figure.
        name, title: as of :func:`~reproduction.notebook.display.show`.
        said: published results and those of the retrained masks -> the caption.
    """

    draw: Callable[[str, Results, Results], go.Figure]
    name: str
    title: str
    said: Callable[[Results, Results], str] = captions.means


@dataclass(frozen=True, eq=False)
class Retraining:
    """What the control for beta trains again in a chapter, and what it then shows.

    Attributes:
        option: what a reader chooses beside beta.
        names: its values -> their names. A value that names one of the chapter's configs chooses this config's run.
        stages: a config and a value -> the stages whose masks are trained, in order.
        steps: of each stage; at laptop scale all of them take less than a minute on two cores.
        numbers: results and a value -> the numbers to compare betas by, with their names.
        figures: that are drawn again.
        settings: a value -> further settings of the config that follow from it.
        counted: the setting that counts the steps: of masks, or of weights where both are learned together.
    """

    option: str
    names: Mapping[str, str]
    stages: Callable[[Config, str], tuple[str, ...]]
    steps: int
    numbers: Callable[[pd.DataFrame, str], dict[str, str]]
    figures: tuple[Redrawn, ...]
    settings: Callable[[str], dict[str, Any]] = field(default=lambda value: {})
    counted: str = "mask_steps"

    def steps_of(self, config: Config) -> int:
        """Read the number of steps that a config takes for a stage."""
        return getattr(config, self.counted)

    def length(self, config: Config) -> str:
        """Write how long a stage is trained: ``1,000 steps at rate 0.12``."""
        return f"{self.steps_of(config):,} steps at rate {config.mask_lr:.2g}"

    def config(self, config: Config, value: str, beta: float, steps: int) -> Config:
        """Change the config of a run to that of its retraining.

        Adam moves a logit that is not needed by the rate each step. Steps times rate is kept, so logits go as far.

        Raises:
            ValueError: beta or the number of steps is not allowed.
        """
        changed = replace(config, beta=beta, **{self.counted: steps}, **self.settings(value))
        return replace(changed, mask_lr=config.mask_lr * self.steps_of(config) / steps)

    def results(self, run: Run, config: Config, value: str, progress: Progress) -> pd.DataFrame:
        """Train the masks of a run's network again, and measure what the chapter shows.

        Args:
            run: whose trained weights are taken, and the masks of stages that come before and are not trained again.
            config: of the retraining (:meth:`config`).
            value: of the option.
            progress: is told of every step, and can stop the training.

        Returns:
            a table of measurements, as of a run.

        Raises:
            KeyboardInterrupt: it was stopped.
        """
        model, stages = run.load_weights(config.model()), self.stages(config, value)
        masks: dict[str, Masks] = {}
        rows: Rows = []
        before = {need: run.masks(need) for stage in stages for need in config.needs(stage) if need not in stages}
        for stage in stages:
            masks[stage], found = config.find_masks(model, run.seed, stage, progress, before | masks)
            rows += found
        rows += config.measure(model, masks)
        if progress.stopping:
            raise KeyboardInterrupt
        return pd.DataFrame([{"seed": run.seed, **row} for row in rows], columns=list(COLUMNS))


def _kept(results: pd.DataFrame, stage: str) -> str:
    """The part of all weights that a stage keeps."""
    return number((by_layer(results, stage, "kept") / by_layer(results, "unmasked", "kept"))["total"])


def _of_two(tasks: Mapping[str, str], results: pd.DataFrame, _: str) -> dict[str, str]:
    """What the masks of two tasks keep and share, and how often they are right."""
    said: dict[str, str] = {}
    for task, name in tasks.items():
        said[f"{name} keeps"] = _kept(results, task)
        said[f"{name} shares"] = number(by_layer(results, task, "sharing")["total"])
        said[f"{name} right"] = number(outcome(results, task, task))
    return said


def _of_class(results: pd.DataFrame, name: str) -> dict[str, str]:
    """What the reference keeps, what goes with a class, and what is then still recognised."""
    before, after = (np.diagonal(confusions(results, stage), axis1=1, axis2=2) for stage in ("full", name))
    own = CLASSES.index(name)
    others = np.delete(np.abs(after - before), own, axis=1).mean(1)
    gone = by_layer(results, name, "removed") / by_layer(results, "full", "kept")
    return {
        "reference keeps": _kept(results, "full"),
        "goes with the class": number(gone["total"]),
        "right": number(outcome(results, "full", "images")),
        "class before": number(pd.Series(before[:, own])),
        "class after": number(pd.Series(after[:, own])),
        "others move": number(pd.Series(others), "points"),
    }


def _of_split(results: pd.DataFrame, split: str) -> dict[str, str]:
    """What the masks of the full task and of a split keep, and how often they are right on the split's test set."""
    said: dict[str, str] = {}
    for stage, name in {"full": "full task", split: "split"}.items():
        said[f"{name} keeps"] = _kept(results, stage)
        said[f"{name} right"] = number(outcome(results, stage, split))
    return said


def _of_last_task(results: pd.DataFrame, _: str) -> dict[str, str]:
    """What the last task keeps, how much of it was in use before, and how often the task is right."""
    task = tasks_learned(results)[-1]
    used = by_layer(results, task, "sharing")
    return {
        "keeps": _kept(results, task),
        "in use before": number(used["total"]),
        "first layer": number(used["input"]),
        "last layer": number(used["output"]),
        "right": number(outcome(results, task, task)),
    }


def _whatever(draw: Callable[[Results, Results], go.Figure]) -> Callable[[str, Results, Results], go.Figure]:
    """Let a figure of the chapter be drawn whatever the value of the option."""
    return lambda _, published, run: draw(published, run)


ADDMUL = Retraining(
    option="network",
    names=NETWORKS,
    stages=lambda config, network: tuple(TASKS),
    steps=1000,
    numbers=partial(_of_two, {"add": "+", "mul": "×"}),
    figures=(
        Redrawn(_whatever(addmul.sharing_per_layer), "sharing", "What retrained masks share"),
        Redrawn(
            lambda network, published, run: addmul.performed(network, published, run, stages=tuple(TASKS)),
            "performed",
            "What retrained masks do",
            captions.numbers,
        ),
    ),
)
DOUBLE_ADDITION = Retraining(
    option="network",
    names=DOUBLE,
    stages=lambda config, network: tuple(PAIR_NAMES),
    steps=1000,
    numbers=partial(_of_two, PAIR_NAMES),
    figures=(
        Redrawn(_whatever(double.sharing_per_layer), "sharing", "What retrained masks share"),
        Redrawn(
            _whatever(double.accuracy_per_mask),
            "accuracy-per-mask",
            "Right sums under retrained masks",
        ),
    ),
)
CIFAR10 = Retraining(
    option="class to remove",
    names={name: name for name in CLASSES},
    stages=lambda config, name: ("full", name),
    steps=200,
    numbers=_of_class,
    figures=(
        Redrawn(
            cifar.change_beside,
            "without-one",
            "How confusions change without the weights of the class",
            lambda published, run: (
                "Blue: more often than under the reference mask, red: less often; hover for numbers. "
                + captions.numbers(published, run)
            ),
        ),
    ),
    settings=lambda name: {"removed": (name,), "factors": (1.0,)},
)
SCAN = Retraining(
    option="split",
    names=SPLIT_NAMES,
    stages=lambda config, split: ("full", split),
    steps=400,
    numbers=_of_split,
    figures=(
        Redrawn(
            _whatever(scan.accuracy_per_split),
            "accuracy-per-split",
            "Commands answered exactly right under retrained masks",
        ),
    ),
)
PERMUTED = Retraining(
    option="start",
    names=permuted.VARIANTS,
    stages=lambda config, variant: config.stages[-1:],  # on weights of the run's earlier tasks
    steps=400,
    numbers=_of_last_task,
    figures=(
        Redrawn(
            _whatever(permuted.sharing),
            "shared-with-earlier-tasks",
            "What the last task, learned again, took from earlier ones",
        ),
    ),
    counted="weight_steps",
)
