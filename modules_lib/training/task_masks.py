"""The masks of several tasks of one model, as one call finds them and one file holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from modules_lib.masking import mask_files as maskfiles
from modules_lib.masking.masks import Masks
from modules_lib.training.alpha_search import Choice


def check_names(tasks: Iterable[object]) -> None:
    """Refuse names of tasks that files, tables and bars cannot have.

    Raises:
        ValueError: a name is no text.
    """
    for name in tasks:
        if not isinstance(name, str):
            raise ValueError(
                f"The task name {name!r} is a {type(name).__name__}; names are text, for example {str(name)!r}."
            )


class TaskMasks(dict[str, Masks]):
    """The masks of several tasks of one model, by name, as :func:`~modules_lib.training.find.find_masks` returns them.

    Attributes:
        alpha: the penalty on each logit that they were trained with, if known.
        choice: the trials from which the rule chose alpha, where it did.
    """

    def __init__(self, masks: Mapping[str, Masks], alpha: float | None = None, choice: Choice | None = None):
        check_names(masks)
        super().__init__(masks)
        self.alpha, self.choice = alpha, choice

    def save(self, path: str | Path, model: nn.Module | None = None) -> None:
        """Write all masks into one file, as :meth:`Masks.save` writes one."""
        maskfiles.write(path, self, model, self.alpha)

    @classmethod
    def load(cls, path: str | Path, model: nn.Module | None = None) -> TaskMasks:
        """Read masks that :meth:`save` wrote; files that :meth:`Masks.load` refuses are refused."""
        tasks, alpha = maskfiles.read(path, model)
        return cls({task: Masks(tensors) for task, tensors in tasks.items()}, alpha)
