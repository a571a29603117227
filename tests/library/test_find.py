"""find_masks: from a trained model and batches of any kind to the masks of named tasks."""

import re
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from modules_lib import MaskedModel, MaskTraining, find_masks, subnetwork, train_weights
from tests.conftest import ROOT

SETTINGS = {"steps": 250, "lr": 5e-2, "progress": False}


def inputs(count=256, seed=0):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def targets(x, task):
    """The sum of the first three inputs, of the last three, or both."""
    first, last = x[:, :3].sum(1), x[:, 3:].sum(1)
    return {"first": torch.stack([first, 0 * last], 1), "last": torch.stack([0 * first, last], 1)}.get(
        task, torch.stack([first, last], 1)
    )


def loss_of(task):
    columns = {"first": [0], "last": [1]}.get(task, [0, 1])
    return lambda outputs, y: F.mse_loss(outputs[:, columns], y[:, columns])


def loss(outputs, y):
    """Of a task that asks for one output, that alone counts."""
    asked = (y != 0).any(0)
    return F.mse_loss(outputs[:, asked], y[:, asked])


def batches(task):
    def batch(step):
        x = inputs(32, step)
        return x, targets(x, task)

    return batch


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 2))
    return train_weights(network, batches("full"), loss, steps=400, lr=2e-2)


def test_each_task_gets_the_weights_it_needs(model):
    before = [p.clone() for p in model.parameters()]
    found = find_masks(model, {"first": batches("first"), "last": batches("last")}, loss, beta=3e-2, **SETTINGS)
    assert list(found) == ["first", "last"] and found.alpha == pytest.approx(3e-2 / 32)
    x = inputs(seed=999)
    for task, column in (("first", 0), ("last", 1)):
        other = "last" if task == "first" else "first"
        asked = lambda masks: float(F.mse_loss(subnetwork(model, masks)(x)[:, column], targets(x, "")[:, column]))  # noqa: B023, E731
        assert asked(found[task]) < 0.05 < 1 < asked(found[other])
        assert found[task]["1.weight"][1 - column].sum() == 0  # the other output's weights are gone
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_batches_may_be_a_function_a_list_or_a_loader(model):
    listed = [batches("first")(step) for step in range(250)]
    stacked = TensorDataset(*(torch.cat(parts) for parts in zip(*listed, strict=True)))
    loader = DataLoader(stacked, batch_size=32)  # gives lists, in the same order
    found = [
        find_masks(model, {"first": given}, loss, alpha=1e-3, **SETTINGS)["first"]
        for given in (batches("first"), listed, loader)
    ]
    assert found[0] == found[1] == found[2]
    short = find_masks(model, {"first": listed[:10]}, loss, alpha=1e-3, **SETTINGS)["first"]
    assert short != found[0]  # gone through again and again


def test_beta_loses_no_batch_and_is_the_same_alpha(model):
    listed = [batches("first")(step) for step in range(20)]
    settings = SETTINGS | {"steps": 20}
    found = [
        find_masks(model, {"first": given}, loss, **strength, **settings)["first"]
        for given in (batches("first"), listed, iter(listed))
        for strength in ({"beta": 0.32}, {"alpha": 1e-2})
        if not (given is not listed and "alpha" in strength)
    ]
    assert all(masks == found[0] for masks in found)
    sizes = {"first": batches("first"), "last": [(inputs(64), targets(inputs(64), "last"))]}
    with pytest.raises(ValueError, match="several sizes .first: 32, last: 64.*give alpha"):
        find_masks(model, sizes, loss, beta=1e-2, **settings)


def test_inputs_of_a_loader_may_be_several():
    x, y = inputs(64), torch.zeros(64)
    pairs = [((x[i, :3], x[i, 3:]), y[i]) for i in range(64)]  # a loader makes lists of tuples
    sizes = find_masks(
        nn.Bilinear(3, 3, 4),
        {"a": DataLoader(pairs, batch_size=16)},
        lambda out, y: out.square().mean() + y.mean(),
        alpha=1e-3,
        steps=5,
        progress=False,
    )
    assert sizes["a"].size() == 36


def test_a_generator_that_ends_is_named(model):
    once = (batches("first")(step) for step in range(7))
    with pytest.raises(ValueError, match="batches of 'first' ended after 7, and going through them again gives none"):
        find_masks(model, {"first": once}, loss, alpha=1e-3, **SETTINGS)


@pytest.mark.slow
def test_alpha_is_chosen_by_the_rule_when_a_tolerance_is_given(model):
    x = inputs(seed=999)

    def accuracy(network):
        return float(((network(x) - targets(x, "")).abs() < 0.5).double().mean())

    tasks = {"first": batches("first"), "full": batches("full")}
    found = find_masks(model, tasks, loss, tolerance=0.02, accuracy=accuracy, **SETTINGS)
    assert list(found) == ["first", "full"] and found.alpha == found.choice.alpha
    assert found["full"] == found.choice.masks and accuracy(subnetwork(model, found["full"])) >= found.choice.floor
    with pytest.raises(ValueError, match="there is no task 'all' among first, full"):
        find_masks(model, tasks, loss, tolerance=0.02, accuracy=accuracy, full="all", **SETTINGS)
    with pytest.raises(ValueError, match="accuracy is needed"):
        find_masks(model, tasks, loss, tolerance=0.02, **SETTINGS)


@pytest.mark.parametrize("given", [{}, {"alpha": 1e-4, "beta": 1e-2}, {"beta": 1e-2, "tolerance": 0.1}])
def test_exactly_one_strength_is_given(model, given):
    with pytest.raises(ValueError, match="exactly one of alpha, beta .* and tolerance"):
        find_masks(model, {"first": batches("first")}, loss, **given)


def test_settings_are_given_by_keyword_or_at_once(model):
    at_once = MaskTraining(steps=10, lr=0.4, samples=2, seed=4)
    tasks = {"first": batches("first")}
    by_keyword = find_masks(model, tasks, loss, alpha=1e-2, steps=10, lr=0.4, samples=2, seed=4, progress=False)
    assert find_masks(model, tasks, loss, alpha=1e-2, training=at_once, progress=False) == by_keyword
    other = find_masks(model, tasks, loss, alpha=1e-2, training=at_once, seed=5, progress=False)
    assert other["first"] != by_keyword["first"]
    with pytest.raises(TypeError, match="Mask training has no setting 'stepz'; its settings are steps, lr, "):
        find_masks(model, tasks, loss, alpha=1e-2, stepz=6)
    for name, bad in {"steps": 0, "lr": 0.0, "clip": -1, "samples": 0, "seed": 0.5, "clipped": "all"}.items():
        with pytest.raises(ValueError, match=name):
            MaskTraining(**{name: bad})


def test_bad_batches_and_no_tasks_are_refused(model):
    with pytest.raises(ValueError, match="no task to find masks for"):
        find_masks(model, {}, loss, beta=1e-2)
    with pytest.raises(ValueError, match=r"A batch of 'first' is a Tensor; it must be a pair \(inputs, targets\)"):
        find_masks(model, {"first": [torch.zeros(4, 6)]}, loss, beta=1e-2)
    with pytest.raises(ValueError, match="beta is -1; it must be a number of at least 0"):
        find_masks(model, {"first": batches("first")}, loss, beta=-1)


class Outputs(NamedTuple):
    logits: torch.Tensor
    states: list


class Several(nn.Module):
    """Two named inputs, an option that is no tensor, and a named tuple as output."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 4), nn.Linear(3, 4)

    def forward(self, left, *, right=None, scale=1.0, names=()):
        return Outputs(scale * self.left(left) + self.right(right), [left, right])


@pytest.mark.parametrize("form", ["a tuple of two", "a dict"])
def test_models_with_several_inputs_and_structured_outputs(form):
    torch.manual_seed(0)
    model = Several() if form == "a dict" else nn.Bilinear(3, 3, 4)

    def batch(step):
        x = inputs(16, step)
        named = {"left": x[:, :3], "right": x[:, 3:], "scale": 2.0, "names": ()}
        return named if form == "a dict" else (x[:, :3], x[:, 3:]), torch.zeros(16)

    def size(outputs, y):
        return (outputs.logits if form == "a dict" else outputs).square().mean() + y.mean()

    found = find_masks(model, {"a": batch}, size, alpha=1e-3, steps=3, progress=False)
    assert found["a"].size() == sum(p.numel() for name, p in model.named_parameters() if "bias" not in name)
    outputs = MaskedModel(model, start=50.0)(**batch(0)[0]) if form == "a dict" else None
    if outputs is not None:
        assert isinstance(outputs, Outputs) and len(outputs.states[1]) == 16
        torch.testing.assert_close(outputs.logits, model(**batch(0)[0]).logits)


def test_lazy_modules_are_refused_until_they_have_values():
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="0.weight has no values yet.*run it once on a batch"):
        MaskedModel(model)
    model(torch.randn(2, 3))
    assert MaskedModel(model)(torch.randn(4, 3)).shape == (4, 2)


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    """The ten lines as they stand, on a small network."""
    monkeypatch.chdir(tmp_path)  # where it saves its masks
    [code] = re.findall(r"## On your own network\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip() and not line.startswith("from ")]) <= 10
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 2))
    train_weights(network, batches("full"), loss, steps=100, lr=2e-2)
    tasks = {"add": batches("first"), "mul": batches("last")}
    space = {
        "model": network,
        "tasks": tasks,
        "loss": loss,
        "accuracy": lambda m: -float(loss(m(inputs()), targets(inputs(), ""))),
    }
    exec(code.replace("steps=5000", "steps=20"), space)
    assert set(space["masks"]) == {"add", "mul"} and (tmp_path / "modules.safetensors").exists()
