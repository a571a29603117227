"""A folder in which a call of find_masks survives: finished tasks, and checkpoints of those under way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from modules_lib.masking.mask_files import fingerprint
from modules_lib.masking.masks import Masks
from modules_lib.training.alpha_search import Choice
from modules_lib.training.checkpoints import Checkpoint
from modules_lib.training.mask_training import MaskTraining


class TaskStore:
    """The masks of some tasks of one model under one training, as far as they are found.

    Args:
        folder: made where it is not there.
        model: trained.
        training: how masks are trained.
        tasks: their names, in order.
        strength: how the strength of the penalty was given.

    Raises:
        ValueError: the folder cannot be written, or holds masks of another model, other tasks or other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        model: nn.Module,
        training: MaskTraining,
        tasks: Sequence[str],
        strength: dict[str, float],
    ):
        self.folder, self.tasks = Path(folder), list(tasks)
        settings = {field.name: _said(getattr(training, field.name)) for field in fields(training) if field.compare}
        self.about = {"model": fingerprint(model), "tasks": self.tasks, **strength, **settings}
        path = self.folder / "about.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                if any(self.folder.iterdir()):
                    raise ValueError(f"{folder} holds other files; name a folder that is empty or not there yet.")
                path.write_text(json.dumps(self.about, indent=1) + "\n", encoding="utf8")
            there = json.loads(path.read_text(encoding="utf8"))
        except OSError as error:
            raise ValueError(
                f"Masks cannot be stored in {folder} ({error.strerror}); make it writable, or name another folder."
            ) from error
        for name in self.about:
            if there.get(name) != self.about[name]:
                other = f"another {name}" if name in ("model", "tasks") else f"{name} {there.get(name)}"
                here = "" if name in ("model", "tasks") else f", not {self.about[name]}"
                raise ValueError(f"{folder} holds masks with {other}{here}; name another folder, or take the same.")

    def checkpoint(self, name: str) -> Checkpoint:
        """Name the place where the training of a task keeps its state."""
        return Checkpoint(self.folder, name, {"about": self.about})

    def masks(self, task: str) -> Masks | None:
        """Load the finished masks of a task, if there are any."""
        path = self._file(task)
        return Masks.load(path) if path.exists() else None

    def keep(self, task: str, masks: Masks) -> None:
        """Store finished masks; the checkpoints of their training go."""
        masks.save(self._file(task))
        for path in self.checkpoint(self.loop(task)).files:
            path.unlink(missing_ok=True)

    def loop(self, task: str) -> str:
        """Name a task for files, whose names cannot have every character."""
        return f"task-{self.tasks.index(task)}"

    def _file(self, task: str) -> Path:
        return self.folder / f"{self.loop(task)}.masks"

    def choice(self, made: Callable[[], Choice]) -> Choice:
        """Load the choice of alpha that is stored, or make and store it now."""
        path, masks = self.folder / "choice.json", self.folder / "choice.masks"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf8"))
            return Choice(**found | {"curve": pd.DataFrame(found["curve"]), "masks": Masks.load(masks)})
        choice = made()
        choice.masks.save(masks)
        numbers = {"alpha": choice.alpha, "reference": choice.reference, "floor": choice.floor}
        path.write_text(json.dumps(numbers | {"curve": choice.curve.to_dict("list")}, indent=1), encoding="utf8")
        return choice


def _said(value: Any) -> Any:
    """A setting as JSON; functions and classes by their names."""
    if callable(value):
        return getattr(value, "__qualname__", repr(value))
    if isinstance(value, dict):
        return {str(key): one for key, one in value.items()}
    return list(value) if isinstance(value, tuple | set | frozenset) else value
