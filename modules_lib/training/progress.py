"""Reports of a run while it is made: how far it is, its curves, and checkpoints to go on from."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from modules_lib.support.checks import check_number
from modules_lib.training.checkpoints import Checkpoint

Rows = list[dict[str, Any]]  # tidy measurements: stage, layer, task, metric, value
Tick = Callable[[str, int], object]  # (training loop, steps made in it so far)
Point = Callable[[int, float], Rows]  # (steps so far, loss) -> measurements of a training curve

POINTS = 16  # how often a training curve is sampled


def checkpoint_seconds() -> float:
    """Find the seconds between checkpoints: the environment variable MODULES_CHECKPOINT, else 120."""
    given = os.environ.get("MODULES_CHECKPOINT") or "120"
    try:
        return check_number("MODULES_CHECKPOINT", float(given), "120")
    except ValueError:
        raise ValueError(f"MODULES_CHECKPOINT is {given!r}; it must be a number of seconds, for example 120.") from None


class Training(Protocol):
    """An update of weights or logits once a step, which goes on after a stop from its state, named tensors."""

    def step(self) -> None: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class Progress:
    """One run being made.

    Attributes:
        tick: told of every step.
        checkpoint: a loop's name -> where its checkpoints are; None keeps none.
        seconds: between checkpoints.
        stopping: set this to end with a checkpoint after the step that is being made, by a KeyboardInterrupt.
        started: when the first loop was begun, in whichever process.
        elapsed: seconds of training in other processes.
        code: the commit and processor that made each part, as at its beginning, and whether anything was changed in
            the commit; empty where nobody will ask.
    """

    tick: Tick = lambda name, steps: None
    checkpoint: Callable[[str], Checkpoint] | None = None
    seconds: float = field(default_factory=checkpoint_seconds)
    stopping: bool = False
    started: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    elapsed: float = 0.0
    code: list[dict[str, Any]] = field(default_factory=list)

    def loop(self, name: str, point: Point | None = None) -> Loop:
        """Begin a training loop of this run."""
        return Loop(name, self, point, self.checkpoint(name) if self.checkpoint else None)


@dataclass
class Loop:
    """One training loop. Without arguments it keeps nothing and tells nobody.

    Attributes:
        rows: the curve so far.
    """

    name: str = ""
    run: Progress = field(default_factory=Progress)
    point: Point | None = None
    checkpoint: Checkpoint | None = None
    rows: Rows = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)
    spent: float = 0.0

    def begin(self, training: Training) -> int:
        """Bring the training to its last checkpoint, and return the number of steps made so far."""
        found = self.checkpoint.load() if self.checkpoint else None
        if found is None:
            return 0
        record, tensors = found
        training.load_state(tensors)
        self.rows[:], self.spent = record["rows"], record["seconds"]
        self.run.elapsed += self.spent
        self.run.started = min(self.run.started, record["started"])
        self.run.code += [code for code in record["code"] if code not in self.run.code]
        self.run.tick(self.name, record["steps"])
        self.saved = time.monotonic()
        return record["steps"]

    def after(self, made: int, of: int, loss: Tensor, training: Training) -> None:
        """Record one more step, after which ``made`` of ``of`` steps are made, and save a checkpoint where one is due.

        Raises:
            KeyboardInterrupt: the run was asked to stop; a checkpoint is saved.
        """
        if self.point and ((made - 1) % max(1, of // POINTS) == 0 or made == of):
            self.rows += self.point(made, loss.item())
        self.run.tick(self.name, made)
        since = time.monotonic() - self.saved
        if self.checkpoint and (made == of or self.run.stopping or since > self.run.seconds):
            self.spent += since
            about = {"started": self.run.started, "seconds": round(self.spent, 3), "code": self.run.code}
            self.checkpoint.save({"steps": made, "rows": self.rows, **about}, training.state())
            self.saved = time.monotonic()
        if self.run.stopping:
            raise KeyboardInterrupt


def random_state() -> dict[str, Tensor]:
    """Read the state of torch's own generators, which dropout draws from."""
    state = {"generator": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["generator of the GPU"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["generator"])
    if torch.cuda.is_available() and "generator of the GPU" in state:
        torch.cuda.set_rng_state(state["generator of the GPU"])
