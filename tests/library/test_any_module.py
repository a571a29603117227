"""Networks of every make: odd parameters, computed weights, models that keep or change something."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from modules_lib import (
    MaskedModel,
    Masks,
    choose_alpha,
    effect_test,
    find_masks,
    subnetwork,
    weights_only,
)
from tests.library.kept import BATCH, K, outputs_of


class Scaled(nn.Module):
    """A linear layer with a scale of its own, and parameters of every shape that nothing uses."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(5, 3), nn.Parameter(torch.tensor(1.5))
        self.empty, self.cube = nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.randn(2, 3, 4))
        self.kernel = nn.Parameter(torch.randn(2, 3, 4, 5))

    def forward(self, x):
        return self.inner(x) * self.scale


class Unused(Scaled):
    def forward(self, x):
        return self.inner(x)


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 2, 2))

    def forward(self, x):
        return x.flatten(1) @ self.kernel.view(4, -1).T


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Scaled, Unused])
def test_parameters_of_every_shape_are_masked_until_the_end(kind):
    torch.manual_seed(0)
    ours, theirs, masked = outputs_of(kind(), torch.randn(BATCH, 5))
    torch.testing.assert_close(ours, theirs)
    assert "empty" not in masked.masks() and masked.masks()["scale"].shape == ()
    model, x = kind(), torch.randn(BATCH, 5)
    found = find_masks(
        model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-3, steps=1010, lr=0.3, samples=K, progress=False
    )["a"]
    assert found.shapes()["cube"] == (2, 3, 4)
    assert not found["cube"].any()  # nothing uses it, and it has its price
    subnetwork(model, found)


def test_a_kernel_may_be_viewed():
    ours, theirs, _ = outputs_of(Views(), torch.randn(BATCH, 3, 2, 2))
    torch.testing.assert_close(ours, theirs)


class Keeps(nn.Module):
    """Keeps what it computed, in a list, a dict and an attribute."""

    def __init__(self):
        super().__init__()
        self.inner, self.kept, self.named, self.calls = nn.Linear(5, 3), [], {}, 0

    def forward(self, x):
        out = self.inner(x)
        self.kept.append(out)
        self.named["last"] = (out, [out])
        self.last, self.calls = out, self.calls + 1
        return out


def test_what_a_model_keeps_of_masked_calls_is_gone_afterwards():
    model, x = Keeps(), torch.randn(BATCH, 5)
    found = find_masks(model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-3, steps=3, progress=False)["a"]
    assert model.kept == [] and model.named == {} and not hasattr(model, "last")
    model(x)  # and what it keeps of its own can still be copied
    copy_of = subnetwork(model, found)
    assert len(copy_of.kept) == 1 and not copy_of.kept[0].requires_grad
    test = effect_test(model, found, lambda network: network(x).mean(), draws=3)
    assert np.isfinite(test.chance).all() and isinstance(test.observed, float)
    choose_alpha(
        model, lambda step: (x, x[:, :3]), F.mse_loss, lambda network: torch.tensor(0.5), start=1e-9, limit=1e-8,
        refinements=0, steps=2, progress=False,
    )  # fmt: skip


class Normalises(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x.sub_(x.mean(-1, keepdim=True)))


@pytest.mark.parametrize("batched", [None, False])
def test_inputs_that_a_forward_changes_stay_as_they_were(batched):
    x = torch.randn(BATCH, 5)
    before = x.clone()
    ours, _, _ = outputs_of(Normalises(), x, options={"batched": batched})
    assert ours.shape == (BATCH, 3)
    x = before.clone()
    MaskedModel(Normalises(), K, batched=batched)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_are_on_while_masks_are_trained(off):
    model, x = nn.Linear(5, 3), torch.randn(BATCH, 5)
    expected = find_masks(
        model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-2, steps=40, lr=0.3, progress=False
    )
    with off():
        found = find_masks(
            model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-2, steps=40, lr=0.3, progress=False
        )
        assert torch.is_grad_enabled() is False
    assert found == expected


def computed(kind):
    """A small network in which one weight is computed from other numbers."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    if kind == "pruned":
        prune.l1_unstructured(layer, "weight", 0.5)
    elif kind == "weight norm":
        parametrizations.weight_norm(layer)
    elif kind == "old weight norm":
        nn.utils.weight_norm(layer)
    elif kind == "spectral norm":
        parametrizations.spectral_norm(layer)
    elif kind == "old spectral norm":
        nn.utils.spectral_norm(layer)
    elif kind == "orthogonal":
        parametrizations.orthogonal(layer)
    elif kind == "bias":
        nn.utils.parametrize.register_parametrization(layer, "bias", nn.Softplus(), unsafe=True)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 2))


KINDS = ("pruned", "weight norm", "old weight norm", "spectral norm", "old spectral norm", "orthogonal", "bias")


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_is_masked_as_it_acts(kind):
    model, x = computed(kind), torch.randn(BATCH, 5)
    model(x)
    ours, theirs, masked = outputs_of(model, x)
    torch.testing.assert_close(ours, theirs)
    assert set(masked.masks()) == {"0.weight", "2.weight"}
    found = find_masks(
        model, {"a": lambda step: (x, x[:, :2])}, F.mse_loss, alpha=1e-2, steps=60, lr=0.3, progress=False
    )
    gone = Masks({name: torch.zeros_like(mask) for name, mask in found["a"].items()})
    assert torch.isfinite(subnetwork(model, gone)(x)).all()
    small = subnetwork(model, found["a"])
    assert bool((small[0].weight[~found["a"]["0.weight"]] == 0).all())
    copy.deepcopy(model)
    model.train()
    model(x).sum().backward()  # the model is as it was


def test_files_know_the_names_of_computed_weights(tmp_path):
    model = computed("weight norm")
    masks = MaskedModel(model).masks()
    masks.save(tmp_path / "masks", model)
    assert Masks.load(tmp_path / "masks", model) == masks


def test_embeddings_and_biases_are_left_out_however_deep_they_are():
    embedding = parametrizations.spectral_norm(nn.Embedding(7, 4))
    layer = nn.Linear(4, 3)
    nn.utils.parametrize.register_parametrization(layer, "bias", nn.Softplus(), unsafe=True)
    model = nn.Sequential(embedding, layer)
    assert set(MaskedModel(model).masks()) == {"1.weight"}
    assert not weights_only(nn.Linear(3, 2))("bias")
