"""How strong should the penalty be? The paper's rule for alpha (section 2, "Conditions for the validity ...").

Too weak, and weights that are not needed stay and look shared; too strong, and weights that are needed go. The rule
asks the full task: alpha is raised as long as a mask that is trained on the full task does not cost accuracy, and then
lowered until the accuracy is adequate again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from modules_lib.masking.masks import Masks
from modules_lib.masking.subnetworks import subnetwork
from modules_lib.support.checks import check_count, check_number
from modules_lib.training.loops import Batch, Loss
from modules_lib.training.mask_training import MaskTraining, Settings

Accuracy = Callable[[nn.Module], float]  # of a model on the full task
LOOKS = 10  # at a mask while it is trained


@dataclass(frozen=True)
class Choice:
    """The alpha that the rule chose, and the trials that it chose from.

    Attributes:
        alpha: the largest alpha tried at which the full-task mask holds.
        reference: accuracy without masks.
        floor: the accuracy that was to be held.
        curve: a row for every alpha tried, from the smallest on: ``alpha``, ``accuracy`` under the full-task mask,
            ``kept`` proportion of the weights, training ``steps`` (fewer where it was given up), and ``holds``.
        masks: the full-task masks at the chosen alpha.
    """

    alpha: float
    reference: float
    floor: float
    curve: pd.DataFrame
    masks: Masks


def choose_alpha(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    accuracy: Accuracy,
    *,
    tolerance: float = 0.01,
    start: float = 1e-7,
    factor: float = math.sqrt(10),
    limit: float = 1e-3,
    refinements: int = 2,
    training: MaskTraining | None = None,
    patience: int | None = 3,
    progress: bool = True,
    **settings: Unpack[Settings],
) -> Choice:
    """Choose alpha for a trained model by the paper's rule.

    The model's weights are used as they are, the same for all alphas; it is left in evaluation mode.

    Each mask is looked at ten times while it is trained. To save time, it is given up when it has failed, and was no
    better than at the look before, several times in a row.

    Args:
        model: any torch module, trained on the full task.
        batch, loss: the full task, as for :func:`modules_lib.training.loops.train_masks`.
        accuracy: a model -> its accuracy on the full task, in [0, 1].
        tolerance: how much of the accuracy a full-task mask may cost.
        start: the first alpha, which should be too weak.
        factor: between one alpha and the next while they hold.
        limit: the largest alpha; the search ends there if no mask has failed.
        refinements: how many times the gap between the last that held and the first that failed is halved, on the
            logarithmic scale.
        training: how masks are trained, for each alpha; by default as always, but for 2000 steps.
        patience: looks in a row at which a mask must fail to be given up; None trains every mask to its end.
        progress: show a bar for each alpha.
        settings: those of :class:`~modules_lib.training.mask_training.MaskTraining`, by keyword, where they differ from
            ``training``.

    Raises:
        ValueError: a setting is not allowed, or the mask fails at the first alpha already.
        TypeError: there is no such setting.
    """
    training = (training or MaskTraining(steps=2000)).changed(settings)
    steps = training.steps
    check_number("tolerance", tolerance, "0.01 (one point of accuracy)", below=1.0)
    if patience is not None:
        check_count("patience", patience)
    model.eval()
    reference = _proportion(accuracy, model)
    floor = reference - tolerance
    masks: dict[float, Masks] = {}
    details: list[dict[str, float]] = []

    def tried(alpha: float) -> float:
        masked = training.masked(model, f"alpha {alpha:g}")
        losses = training.of(masked, batch, loss, alpha)
        failures, value = 0, -math.inf
        bar = tqdm(losses, f"alpha {alpha:.2g}", total=steps, unit="step", leave=False, disable=not progress)
        for step, _ in enumerate(bar, 1):
            if step % max(1, steps // LOOKS) == 0 or step == steps:
                before, value = value, _proportion(accuracy, subnetwork(model, masked.masks()))
                failures = failures + 1 if value < floor and (value <= before or not failures) else 0
                if failures == patience:
                    break
        masks[alpha] = masked.masks()
        details.append({"alpha": alpha, "kept": masks[alpha].kept(), "steps": step})
        return value

    alpha, trials = search(tried, floor, start, factor=factor, limit=limit, refinements=refinements)
    curve = pd.DataFrame({"alpha": list(trials), "accuracy": list(trials.values())}).merge(pd.DataFrame(details))
    curve["holds"] = curve["accuracy"] >= floor
    return Choice(alpha, reference, floor, curve, masks[alpha])


def _proportion(accuracy: Accuracy, network: nn.Module) -> float:
    """The accuracy of a network, if it is a proportion.

    Raises:
        ValueError: it is no number, or not from 0 to 1.
    """
    with torch.no_grad():
        value = accuracy(network)
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = float(value)
    return check_number("accuracy", value, "0.97 (a proportion, not per cent)", below=1.0 + 1e-9)


def search(
    accuracy: Callable[[float], float],
    floor: float,
    start: float,
    *,
    factor: float = math.sqrt(10),
    limit: float = 1e-3,
    refinements: int = 2,
) -> tuple[float, dict[float, float]]:
    """Search by the rule itself, for any accuracy as a function of alpha: raise alpha while it holds, then step back.

    Args:
        accuracy: of the full task under a mask trained at an alpha.
        floor: the accuracy to hold.
        start, factor, limit, refinements: as for :func:`choose_alpha`.

    Returns:
        The largest alpha tried that holds below the first that fails, and the accuracy at every alpha tried, sorted.

    Raises:
        ValueError: the first alpha fails, or a setting is not allowed.
    """
    check_number("start", start, "1e-7", above=True)
    check_number("limit", limit, "1e-3", least=start)
    check_number("factor", factor, "3.16", least=1.0, above=True)
    check_count("refinements", refinements, least=0)
    trials = {start: accuracy(start)}
    if not trials[start] >= floor:
        raise ValueError(
            f"The full-task mask fails at the smallest alpha already: accuracy {trials[start]:.1%} at {start:g}, where "
            f"{floor:.1%} is asked for; start lower (`choose_alpha`), train masks for more steps, or allow a larger "
            "tolerance."
        )
    held, failed = start, None
    while failed is None and held * factor <= limit * (1 + 1e-9):
        alpha = held * factor
        trials[alpha] = accuracy(alpha)
        held, failed = (alpha, None) if trials[alpha] >= floor else (held, alpha)
    if failed is None:
        warnings.warn(
            f"The full-task mask still holds at alpha {held:g}, the largest that was tried; a larger limit than "
            f"{limit:g} may find a stronger one.",
            stacklevel=2,
        )
        return held, trials
    for _ in range(refinements):
        alpha = math.sqrt(held * failed)
        trials[alpha] = accuracy(alpha)
        held, failed = (alpha, failed) if trials[alpha] >= floor else (held, alpha)
    return held, dict(sorted(trials.items()))
