"""A call of find_masks that was stopped goes on where it was, and ends with the same bits."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import find_masks
from modules_lib.training.progress import Loop

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
SETTINGS = {"alpha": 1e-2, "steps": 40, "lr": 0.2, "samples": 2, "progress": False}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


class Task:
    """Batches as a function of the step, such as processes can be given."""

    def __init__(self, first):
        self.first = first

    def __call__(self, step):
        rows = torch.randperm(8, generator=torch.Generator().manual_seed(step))
        return X[rows], X[rows][:, self.first : self.first + 2]


TASKS = {"one": Task(0), "two": Task(2), "three/four": Task(4)}


@pytest.fixture
def stop_at(monkeypatch):
    """Ctrl-C after so many steps of all tasks together."""

    def stop(number):
        after, made = Loop.after, [0]

        def stopping(self, *arguments):
            made[0] += 1
            self.run.stopping = made[0] == number
            after(self, *arguments)

        monkeypatch.setattr(Loop, "after", stopping)

    yield stop
    monkeypatch.undo()


@pytest.mark.parametrize("batches", ["functions", "lists"])
@pytest.mark.parametrize("stop", [1, 17, 40, 55, 119])
def test_the_same_call_goes_on_and_finds_the_same_masks(tmp_path, stop_at, monkeypatch, stop, batches):
    tasks = TASKS if batches == "functions" else {name: [task(i) for i in range(7)] for name, task in TASKS.items()}
    expected = find_masks(network(), tasks, F.mse_loss, **SETTINGS)
    stop_at(stop)
    with pytest.raises(KeyboardInterrupt):
        find_masks(network(), tasks, F.mse_loss, **SETTINGS, store=tmp_path / "store")
    monkeypatch.undo()
    steps = []
    after = Loop.after
    monkeypatch.setattr(Loop, "after", lambda self, *a: steps.append(a[0]) or after(self, *a))
    found = find_masks(network(), tasks, F.mse_loss, **SETTINGS, store=tmp_path / "store")
    assert found == expected and len(steps) == 120 - stop
    steps.clear()
    assert find_masks(network(), tasks, F.mse_loss, **SETTINGS, store=tmp_path / "store") == expected and not steps


def test_a_choice_of_alpha_is_kept(tmp_path):
    calls = []

    def accuracy(model):
        calls.append(1)
        return float(F.mse_loss(model(X), X[:, :2]) < 10)

    tasks = {"full": Task(0), "other": Task(2)}
    settings = {name: value for name, value in SETTINGS.items() if name != "alpha"} | {"tolerance": 0.1}
    first = find_masks(network(), tasks, F.mse_loss, **settings, accuracy=accuracy, store=tmp_path / "store")
    calls.clear()
    again = find_masks(network(), tasks, F.mse_loss, **settings, accuracy=accuracy, store=tmp_path / "store")
    assert again == first and not calls and again.choice.curve.equals(first.choice.curve)


def test_another_model_task_list_or_setting_is_refused(tmp_path):
    store, model = tmp_path / "store", network()
    find_masks(model, TASKS, F.mse_loss, **SETTINGS, store=store)
    other = network()
    with torch.no_grad():
        other[0].weight[0, 0] += 1
    for changed, message in (
        ({"model": other}, "another model; name another folder"),
        ({"tasks": {"one": TASKS["one"]}}, "another tasks; name another folder"),
        ({"steps": 41}, "steps 40, not 41; name another folder"),
        ({"alpha": 2e-2}, "alpha 0.01, not 0.02"),
        ({"where": lambda name: name.startswith("0")}, "where None, not .*lambda"),
    ):
        given = {"model": model, "tasks": TASKS, **SETTINGS} | changed
        with pytest.raises(ValueError, match=f"holds masks with {message}"):
            find_masks(given.pop("model"), given.pop("tasks"), F.mse_loss, **given, store=store)


def test_a_folder_that_cannot_be_used_is_named_before_anything_is_trained(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="holds other files; name a folder that is empty"):
        find_masks(network(), TASKS, F.mse_loss, **SETTINGS, store=tmp_path)
    with pytest.raises(ValueError, match="Masks cannot be stored in .*file.*name another folder"):
        find_masks(network(), TASKS, F.mse_loss, **SETTINGS, store=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_tasks_in_processes_find_the_same_masks(tmp_path):
    expected = find_masks(network(), TASKS, F.mse_loss, **SETTINGS)
    found = find_masks(network(), TASKS, F.mse_loss, **SETTINGS, jobs=2, store=tmp_path / "store")
    assert found == expected and list(found) == list(expected)
    with pytest.raises(ValueError, match="cannot be given these tasks .*jobs=1"):
        find_masks(network(), {"a": lambda step: None, "b": Task(0)}, F.mse_loss, **SETTINGS, jobs=2)
