"""The settings of mask training, said once: from a model and a task to masks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TypedDict

from torch import Tensor, nn

from modules_lib.masking.groups import Unit
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.masking.samplers import Sampler, sampler_of, worth_compiling
from modules_lib.masking.selection import Where
from modules_lib.support.checks import check_choice, check_count, check_number
from modules_lib.support.precision import PRECISIONS
from modules_lib.training.clipping import CLIPPED
from modules_lib.training.loops import Batch, Loss, mask_steps
from modules_lib.training.progress import Loop


class Settings(TypedDict, total=False):
    """The settings of :class:`MaskTraining` as keywords of other functions, for type checkers and editors.

    ``start`` is not among them: in :func:`~modules_lib.training.alpha_search.choose_alpha` it is the first alpha.
    """

    steps: int
    lr: float
    clip: float
    clipped: str
    samples: int
    where: Where | None
    seed: int
    precision: str
    sampler: str | type[Sampler]
    whole: bool
    shared: Collection[str | int]
    batch_dims: int | Mapping[str | int, int]
    unit: str | Unit
    heads: int | None
    penalty: str
    graphs: bool


@dataclass(frozen=True, kw_only=True)
class MaskTraining:
    """How masks are trained, whatever the model, the task and the strength of the penalty.

    Args:
        steps: of Adam on the mask logits, for each task.
        lr: Adam's rate.
        clip: the largest norm of a gradient.
        clipped: the gradient with this norm: of the "logits", or of "everything", as in the paper's code
            (:func:`~modules_lib.training.loops.train_masks`).
        samples: K, mask samples a batch; batch sizes must be divisible by it.
        where: which parameters to mask, by name; by default all but biases and ``nn.Embedding``; gains of norms, and
            embeddings that are plain parameters, are masked.
        start: every logit's first value; 2.0 keeps a weight with probability 0.88.
        seed: of the mask noise. Another one gives other masks; :func:`~modules_lib.analysis.chance.stability` tells
            how far they agree. The order of a DataLoader is its own.
        whole: run the whole batch K times, each time under another mask, instead of K slices of it: K times the work,
            for models whose rows depend on one another.
        graphs: on a GPU, replay steps as CUDA graphs where that is possible; False for a model or loss whose own Python
            must run in each step (:mod:`modules_lib.training.cuda_graphs`).
        precision, sampler, shared, batch_dims, unit, heads, penalty: see
            :class:`~modules_lib.masking.masked_model.MaskedModel`.

    Raises:
        ValueError: a setting is not allowed.
    """

    steps: int = 5000
    lr: float = 1e-2
    clip: float = 1.0
    clipped: str = "logits"
    samples: int = 4
    where: Where | None = None
    start: float = 2.0
    seed: int = 0
    precision: str = "float32"
    sampler: str | type[Sampler] = "gumbel-sigmoid"
    whole: bool = False
    shared: Collection[str | int] = ()
    batch_dims: int | Mapping[str | int, int] = 0
    unit: str | Unit = "weight"
    heads: int | None = None
    penalty: str = "group"
    graphs: bool = field(default=True, compare=False)  # masks are the same

    def __post_init__(self) -> None:
        checked = {
            "steps": check_count("steps", self.steps),
            "lr": check_number("lr", self.lr, "1e-2", above=True),
            "clip": check_number("clip", self.clip, "1.0 (the largest norm of a gradient)", above=True),
            "samples": check_count("samples", self.samples),
            "start": check_number("start", self.start, "2.0", least=-math.inf),
            "seed": check_count("seed", self.seed, least=0),
        }
        check_choice("clipped", self.clipped, CLIPPED)
        check_choice("precision", self.precision, PRECISIONS)
        sampler_of(self.sampler)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def changed(self, settings: Settings) -> MaskTraining:
        """Change some settings.

        Raises:
            TypeError: there is no such setting.
        """
        names = [one.name for one in fields(self)]
        for name in settings:
            if name not in names:
                raise TypeError(f"Mask training has no setting {name!r}; its settings are {', '.join(names)}.")
        return replace(self, **settings)

    def masked(self, model: nn.Module, stage: str) -> MaskedModel:
        """Make a model with mask logits at their first values, for :meth:`of`; ``stage`` names its stream of noise."""
        names = ("start", "seed", "precision", "sampler", "shared", "batch_dims", "unit", "heads", "penalty")
        own = {name: getattr(self, name) for name in names}
        fuse = worth_compiling(sampler_of(self.sampler), model.parameters(), self.samples, self.steps)
        samples = 1 if self.whole else self.samples
        return MaskedModel(model, samples, self.where, stage=stage, fuse=fuse, **own)

    def of(
        self, masked: MaskedModel, batch: Batch, loss: Loss, alpha: float, loop: Loop | None = None
    ) -> Iterator[Tensor]:
        """Train masks on a task, one step at a time (:func:`~modules_lib.training.loops.mask_steps`)."""
        names = ("steps", "lr", "clip", "clipped", "graphs")
        own = {name: getattr(self, name) for name in names}
        return mask_steps(masked, batch, loss, alpha=alpha, passes=self.samples if self.whole else 1, loop=loop, **own)
