"""Masks over groups of weights: whole rows, columns, channels and heads; prices, chance and files as ever."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import MaskedModel, Masks, effect_test, find_masks, heads, random_masks, sharing, train_masks

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
TASK = {"first": lambda step: (X, X[:, :2])}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


def found(model, unit, **settings):
    settings = {"alpha": 1e-3, "steps": 60, "lr": 0.2, "samples": 2, "progress": False} | settings
    return find_masks(model, TASK, F.mse_loss, unit=unit, **settings)["first"]


def whole(mask, dim):
    """Whether a mask keeps or removes every slice of a dimension whole."""
    flat = mask.movedim(dim, 0).flatten(1)
    return bool((flat.all(1) | ~flat.any(1)).all())


@pytest.mark.parametrize(("unit", "dim"), [("row", 0), ("channel", 0), ("column", 1)])
def test_rows_and_columns_are_kept_or_removed_whole(unit, dim):
    masks = found(network(), unit)
    assert all(whole(mask, dim) for mask in masks.values()) and 0 < masks.kept() < 1
    single = found(network(), "weight")
    assert not all(whole(mask, dim) for mask in single.values())


def test_channels_of_convolutions_are_kept_or_removed_whole():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    x = torch.randn(8, 3, 5, 5)
    tasks = {"a": lambda step: (x, torch.zeros(8, 2))}
    for unit, dim in (("channel", 0), ("column", 1)):
        settings = {"alpha": 1e-2, "steps": 40, "lr": 0.3, "unit": unit, "samples": 2, "progress": False}
        masks = find_masks(model, tasks, F.mse_loss, **settings)["a"]
        assert whole(masks["0.weight"], dim) and masks.shapes()["0.weight"] == (8, 3, 3, 3)


def test_a_group_has_one_logit_and_the_gradient_of_its_weights():
    model = network()
    masked = MaskedModel(model, 2, start=0.0, unit="row", seed=1)
    assert len(masked.logits) == 5 + 2
    masked(X).square().sum().backward()
    assert masked.logits.grad.shape == (7,) and masked.logits.grad.abs().min() >= 0
    everything = MaskedModel(model, 2, start=50.0, unit="row")
    torch.testing.assert_close(everything(X), model(X))
    assert {name: p.shape for name, p in masked.probabilities().items()} == {"0.weight": (5, 6), "2.weight": (2, 5)}


@pytest.mark.parametrize(("penalty", "ratio"), [("group", 1.0), ("weight", 6 / 5)])
def test_a_penalty_is_on_groups_or_on_their_weights(penalty, ratio):
    """Without a loss all logits fall; Adam hides the size of a gradient, not which of two is clipped away."""
    masked = MaskedModel(network(), 2, unit="row", penalty=penalty)
    price = torch.as_tensor(masked.price(1e-3)).expand(7)
    assert price[0] / price[-1] == pytest.approx(ratio)
    train_masks(masked, lambda step: (X, None), lambda out, _: 0 * out.sum(), steps=40, alpha=1e-3, lr=0.3)
    assert (masked.logits < 0).all()


def test_groups_of_ones_own_may_span_parameters():
    def unit(name, shape):
        """One group for unit i of the hidden layer: what comes in and what goes out."""
        ids = torch.arange(5)
        return "hidden", ids[:, None].expand(shape) if name == "0.weight" else ids[None].expand(shape)

    masks = found(network(), unit)
    into, out = masks["0.weight"].any(1), masks["2.weight"].any(0)
    assert torch.equal(into, out) and 0 < into.sum() < 5
    drawn = random_masks(masks, 3, unit=unit)
    assert drawn.count() == masks.count() and torch.equal(drawn["0.weight"].any(1), drawn["2.weight"].any(0))


def test_chance_draws_groups_too():
    model = network()
    masks = found(model, "column")
    drawn = [random_masks(masks, seed, unit="column") for seed in range(20)]
    assert all(whole(mask, 1) for one in drawn for mask in one.values())
    assert all(one.count(name) == masks.count(name) for one in drawn for name in masks)
    assert len({tuple(one["0.weight"][0].tolist()) for one in drawn}) > 1
    test = effect_test(model, masks, lambda network: -F.mse_loss(network(X), X[:, :2]), draws=9, unit="column")
    assert len(test.chance) == 9 and 0 <= sharing(masks, drawn[0]) <= 1
    with pytest.raises(ValueError, match="keep groups in part; name the unit"):
        random_masks(Masks({"0.weight": torch.eye(5, 6).bool()}), unit="row")
    with pytest.raises(ValueError, match="cannot be drawn within other masks"):
        random_masks(masks, within=masks, unit="row")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.MultiheadAttention(8, 4, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.inner(x, x, x)[0].mean(1))


def test_a_head_is_its_queries_keys_values_and_its_part_of_the_output():
    masked = MaskedModel(Attention(), 2, unit="head", heads=4)
    assert set(masked.shapes) == {"inner.in_proj_weight", "inner.out_proj.weight"} and len(masked.logits) == 4
    with torch.no_grad():
        masked.logits.copy_(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    masks = masked.masks()
    kept = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0], dtype=torch.bool)
    for part in masks["inner.in_proj_weight"].chunk(3):
        assert torch.equal(part, kept[:, None].expand(8, 8))
    assert torch.equal(masks["inner.out_proj.weight"], kept[None].expand(8, 8))
    x = torch.randn(4, 3, 8)
    torch.testing.assert_close(MaskedModel(Attention(), 2, unit="head", heads=4, start=50.0)(x).shape, (4, 3))


def test_bad_units_are_refused():
    for options, message in (
        ({"unit": "neuron"}, "Unknown unit 'neuron'; it must be one of weight, row, column, channel, head"),
        ({"unit": "head"}, "the number of heads is needed: give heads="),
        ({"unit": heads(3)}, "in_proj_weight of shape .* cannot be cut into 3 heads"),
        ({"unit": lambda name, shape: torch.zeros(2)}, r"The groups of .* are torch.float32 of \(2,\); they must be"),
        ({"penalty": "row"}, "Unknown penalty 'row'; it must be one of group, weight"),
    ):
        with pytest.raises(ValueError, match=message):
            MaskedModel(Attention(), 2, **options)
