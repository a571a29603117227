"""Comparing the masks of several tasks: intersection over union, sharing of all with all, what is whose."""

import math

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modules_lib import Masks, by_layer, common, evaluate, exclusive, iou, sharing, sharing_matrix

bits = st.lists(st.booleans(), min_size=24, max_size=24)


def as_masks(flat):
    t = torch.tensor(flat)
    return Masks({"x": t[:15].view(3, 5), "y": t[15:]})


@given(st.dictionaries(st.sampled_from("abcd"), bits, min_size=2))
@settings(deadline=None, max_examples=50)
def test_exclusive_and_common_parts_fit_together(flats):
    masks = {task: as_masks(flat) for task, flat in flats.items()}
    matrix = sharing_matrix(masks)
    for task, own in masks.items():
        others = [mask for other, mask in masks.items() if other != task]
        alone = exclusive(masks, task)
        assert (alone & own) == alone and all((alone & other).count() == 0 for other in others)
        if own.count():
            assert math.isclose(alone.count() / own.count(), 1 - sharing(own, *others), abs_tol=1e-12)
            assert matrix.loc[task, task] == 1
        for other, mask in masks.items():
            assert (own & mask).count() == pytest.approx((matrix.loc[task, other] if own.count() else 0) * own.count())
    shared = common(masks)
    assert all((shared & mask) == shared for mask in masks.values())
    table = by_layer(masks).set_index(["task", "layer"])
    for task, own in masks.items():
        assert table.loc[(task, "total"), "kept"] == own.count() == table.loc[task]["kept"].drop("total").sum()
        assert table.loc[(task, "total"), "exclusive"] == exclusive(masks, task).count()


@given(bits, bits)
@settings(deadline=None, max_examples=50)
def test_intersection_over_union(first, second):
    a, b = as_masks(first), as_masks(second)
    if a.count() + b.count() == 0:
        assert math.isnan(iou(a, b))
        return
    value = iou(a, b)
    assert value == iou(b, a) and 0 <= value <= 1 and (value == 1) == (a == b)
    if a.count() and b.count():  # both are the overlap, over other numbers
        assert math.isclose(value, 1 / (1 / sharing(a, b) + 1 / sharing(b, a) - 1) if sharing(a, b) else 0.0)


def test_by_hand():
    masks = {
        "add": as_masks([True, True, True, False] + [False] * 20),
        "mul": as_masks([False, False, True, True] + [False] * 20),
    }
    assert iou(masks["add"], masks["mul"]) == 1 / 4
    assert sharing_matrix(masks).to_numpy().tolist() == [[1, 1 / 3], [1 / 2, 1]]
    assert exclusive(masks, "add")["x"].flatten()[:4].tolist() == [True, True, False, False]
    assert common(masks).count() == 1


def test_evaluation_under_masks_inversions_and_combinations():
    model = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 4.0]]))
    full = Masks({"weight": torch.tensor([[True, True, False]])})
    part = Masks({"weight": torch.tensor([[True, False, False]])})
    looks = {"part": part, "without": ~part, "rest": full & ~part}
    table = evaluate(
        model, looks, {"sum": lambda m: float(m.weight.sum()), "count": lambda m: int((m.weight != 0).sum())}
    )
    assert table["sum"].to_dict() == {"unmasked": 7, "part": 1, "without": 6, "rest": 2}
    assert table["count"].tolist() == [3, 1, 2, 1] and float(model.weight.sum()) == 7
    alone = evaluate(model, looks, lambda m: 1.0)
    assert isinstance(alone, pd.DataFrame) and list(alone.columns) == ["value"]


def test_evaluation_leaves_the_model_in_its_mode():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model[1].eval()
    evaluate(model, {}, lambda network: float(network.training))
    assert model.training and model[0].training and not model[1].training


def test_bad_input_is_refused():
    mask = as_masks([True] * 24)
    for masks, task in (({"a": mask}, "a"), ({"a": mask, "b": mask}, "c"), ({}, "a")):
        with pytest.raises(ValueError, match=f"Exclusive to '{task}' against what"):
            exclusive(masks, task)
    with pytest.raises(ValueError, match="no masks to compare"):
        common({})
    with pytest.raises(ValueError, match="no mask named 'z'"):
        iou(mask, mask, "z")
