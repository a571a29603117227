"""What cannot work is refused in a sentence before anything is trained."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import (
    MaskedModel,
    TaskMasks,
    choose_alpha,
    evaluate,
    find_masks,
)
from tests.library.kept import BATCH


class Batches:
    def __call__(self, step):
        x = torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(step))
        return x, x[:, :3]


@pytest.mark.parametrize("name", [3, np.int64(3), ("a", 1), None])
def test_names_of_tasks_that_are_no_text_are_refused_at_once(name):
    with pytest.raises(ValueError, match="names are text, for example"):
        find_masks(nn.Linear(5, 3), {name: Batches()}, F.mse_loss, alpha=1e-3)
    with pytest.raises(ValueError, match="names are text, for example"):
        TaskMasks({name: MaskedModel(nn.Linear(5, 3)).masks()})


def test_numbers_of_numpy_are_numbers(tmp_path):
    found = find_masks(
        nn.Linear(5, 3), {"a": Batches()}, F.mse_loss, alpha=np.float32(1e-3), steps=np.int64(3), samples=np.int32(2),
        seed=np.int64(1), progress=False,
    )  # fmt: skip
    found.save(tmp_path / "masks")
    assert TaskMasks.load(tmp_path / "masks").alpha == pytest.approx(1e-3)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    masks = MaskedModel(nn.Linear(5, 3)).masks()
    with pytest.raises(ValueError, match="nowhere/masks cannot be written .*make its folder"):
        masks.save(tmp_path / "nowhere" / "masks")


def test_metrics_give_one_number():
    model, x = nn.Linear(5, 3), torch.randn(BATCH, 5)
    masks = MaskedModel(model).masks()
    table = evaluate(model, {"a": masks}, lambda network: network(x).mean())
    assert table["value"].dtype == float
    with pytest.raises(ValueError, match=r"The metric gave a Tensor of shape \(4, 3\); it must give one number"):
        evaluate(model, {"a": masks}, lambda network: network(x))
    with pytest.raises(
        ValueError, match="accuracy is 97.0; it must be a number of at least 0 and below 1, .*not per cent"
    ):
        choose_alpha(model, Batches(), F.mse_loss, lambda network: 97.0)


def test_models_whose_weights_cannot_be_replaced_are_refused():
    tasks = {"a": Batches()}
    script = torch.jit.trace(nn.Linear(5, 3), torch.randn(2, 5))
    for model, message in (
        (nn.Sequential(nn.ReLU()), r"No parameter is selected .* \(the model has none\)"),
        (script, "scripted or traced model; give the module that it was made from"),
        (nn.DataParallel(nn.Linear(5, 3)), "DataParallel wrapper; give the module inside, model.module"),
        (torch.compile(nn.Linear(5, 3)), "compiled one; give the module that torch.compile was given"),
        (nn.LazyLinear(3), "has no values yet"),
        (lambda x: x, "it must be a torch.nn.Module"),
    ):
        with pytest.raises(ValueError, match=message):
            find_masks(model, tasks, F.mse_loss, alpha=1e-3)


def test_a_loss_that_is_none_is_named():
    model = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"The loss is of shape \(4, 3\); it must be one number"):
        find_masks(model, {"a": Batches()}, lambda out, y: (out - y) ** 2, alpha=1e-3, progress=False)
    with pytest.raises(ValueError, match="does not depend on the weights"):
        find_masks(model, {"a": Batches()}, lambda out, y: F.mse_loss(out.detach(), y), alpha=1e-3, progress=False)
