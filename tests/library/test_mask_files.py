"""Mask files of several tasks: what they hold, what is refused, and that no change of a byte goes unnoticed."""

import json
import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from modules_lib import Masks, TaskMasks, fingerprint

MUTATIONS = 1000


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


@pytest.fixture
def saved(tmp_path):
    model = network()
    tasks = {
        task: Masks({name: torch.rand_like(p) > 0.5 for name, p in model.named_parameters()})
        for task in ("add", "mul/2", "")
    }
    path = tmp_path / "tasks.safetensors"
    TaskMasks(tasks, alpha=2e-6).save(path, model)
    return model, tasks, path


def test_several_tasks_come_back_with_alpha_and_order(saved):
    model, tasks, path = saved
    again = TaskMasks.load(path, model)
    assert again == tasks and list(again) == list(tasks) and again.alpha == 2e-6 and again.choice is None


def test_the_format_is_as_documented(saved):
    model, tasks, path = saved
    with safe_open(path, "pt") as file:
        [(entry, text)] = file.metadata().items()
        packed = file.get_tensor("add/0.bias")
    about = json.loads(text)
    assert entry == "modules_lib masks 2" and about["tasks"] == list(tasks) and about["alpha"] == 2e-6
    assert about["model"] == fingerprint(model) and about["shapes"]["0.weight"] == [3, 4] and about["library"]
    bits = [bool(int(packed[0]) >> (7 - i) & 1) for i in range(3)]
    assert packed.dtype == torch.uint8 and bits == tasks["add"]["0.bias"].tolist()


def test_the_same_masks_are_the_same_bytes(saved):
    model, tasks, path = saved
    before = path.read_bytes()
    TaskMasks(tasks, alpha=2e-6).save(path, model)
    assert path.read_bytes() == before


def test_a_file_of_several_tasks_is_no_single_mask(saved):
    with pytest.raises(ValueError, match=r"holds the masks of 3 tasks \(add, mul/2, \); read it with TaskMasks.load"):
        Masks.load(saved[2])


def test_a_single_mask_is_a_file_of_one_task(tmp_path):
    mask = Masks({"a": torch.tensor([True, False])})
    mask.save(tmp_path / "one.safetensors")
    assert list(TaskMasks.load(tmp_path / "one.safetensors").values()) == [mask]


def test_a_file_of_the_first_version_is_read(tmp_path):
    path, mask = tmp_path / "first.safetensors", Masks({"a": torch.tensor([True, False, True])})
    about = {"version": 1, "shapes": {"a": [3]}, "model": None}
    save_file({"a": torch.tensor([0b10100000], dtype=torch.uint8)}, path, {"modules_lib masks": json.dumps(about)})
    assert Masks.load(path) == mask


def test_tasks_of_different_models_are_refused(tmp_path):
    tasks = {"a": Masks({"x": torch.ones(2) > 0}), "b": Masks({"x": torch.ones(3) > 0})}
    for wrong in (tasks, {}):
        with pytest.raises(ValueError, match="at least one task, all of one model"):
            TaskMasks(wrong).save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def mutated(content, draw):
    """The file with one byte changed, a stretch overwritten, cut out or put in, or its end missing."""
    at, size = draw.randrange(len(content)), draw.randint(1, 12)
    noise = bytes(draw.randrange(256) for _ in range(size))
    return draw.choice(
        [
            content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :],
            content[:at] + noise + content[at + size :],
            content[:at] + content[at + size :],
            content[:at] + noise + content[at:],
            content[:at],
        ]
    )


def test_changed_files_are_refused_or_say_the_same(saved):
    """Never another exception, never other masks, never another alpha."""
    _, tasks, path = saved
    content, draw, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(content, draw))
        try:
            again = TaskMasks.load(path)
        except ValueError as error:
            assert path.name in str(error)
            refused += 1
        else:
            assert again == tasks and again.alpha == 2e-6
    assert refused > 0.9 * MUTATIONS  # what is left are changes that say the same, such as other white space


def test_a_change_that_keeps_the_format_is_found_by_the_checksum(saved):
    _, _, path = saved
    content = path.read_bytes()
    for old, new in ((b'\\"alpha\\": 2e-06', b'\\"alpha\\": 3e-06'), (content[-1:], bytes([content[-1] ^ 0x80]))):
        head, _, tail = content.rpartition(old)
        path.write_bytes(head + new + tail)
        with pytest.raises(ValueError, match="is damaged .*does not have its checksum"):
            TaskMasks.load(path)
