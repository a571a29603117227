"""Names of stages: written into measurements and mask files by experiments, and read back by figures and claims."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAMPLED = "full, sampled"  # the stage of masks that are drawn from the full task's probabilities
BINS = 500  # of the histogram of mask probabilities (Figure 6)


@dataclass(frozen=True)
class Stage:
    """A subtask that masks are trained on, with all that tells it from others of the same run.

    Attributes:
        task: the subtask, for example "add".
        factor: the multiple of the config's beta; None where a run has one beta.
        sampler: of the masks; empty where a run has one sampler.
        repeat: which training with these settings, from 1 on.
    """

    task: str
    factor: float | None = None
    sampler: str = ""
    repeat: int = 1

    def __str__(self) -> str:
        """The name in tables and files, as ``add``, ``add@0.1``, ``add@hard-concrete`` or ``add@hard-concrete#2``."""
        setting = self.sampler if self.factor is None else f"{self.factor:.3g}"
        return self.task + (f"@{setting}" if setting else "") + (f"#{self.repeat}" if self.repeat > 1 else "")

    @classmethod
    def read(cls, name: str) -> Stage:
        """Take a name apart into the stage that :meth:`__str__` writes it from."""
        task, setting, repeat = re.fullmatch(r"([^@#]*)@?([^@#]*)#?(\d*)", name).groups()  # type: ignore[union-attr]
        try:
            return cls(task, factor=float(setting), repeat=int(repeat or 1))
        except ValueError:
            return cls(task, sampler=setting, repeat=int(repeat or 1))


def stage_at(task: str, factor: float) -> str:
    """Name a sweep's stage at one multiple of beta: ``add@0.1``."""
    return str(Stage(task, factor))


def stage_with(task: str, factor: float) -> str:
    """Name a stage at one multiple of beta; at the beta itself the name is the task's own."""
    return str(Stage(task, None if factor == 1 else factor))
