"""GPUs: which part of a run has which, and `make gpu`; with stand-ins for devices and processes, and on real ones."""

from collections import Counter
from concurrent.futures import Future

import pytest
import torch

from reproduction.experiments import preset
from reproduction.runs import execute as running
from reproduction.runs import pool
from reproduction.runs.execute import execute
from reproduction.runs.store import runs_folder
from reproduction.runs.worker import claimed, gpus
from tools import gpu

TINY = preset("addmul-fnn", "smoke", hidden=(8,), weight_steps=2, mask_steps=2)


class Processes:
    """Stands in for worker processes: makes no part until :meth:`end_one`, and notes the GPU that each is given."""

    def __init__(self, *_):
        self.given, self.left = [], []

    def submit(self, work, config, seed, part, number):
        future = Future()
        self.given.append(((seed, part), number))
        self.left.append((future, number))
        return future

    def end_one(self):
        self.left.pop(0)[0].set_result(None)

    def shutdown(self, **_):
        pass


@pytest.fixture
def processes(monkeypatch):
    """The stand-in of the pool, with four GPUs; a look at finished parts ends the oldest and notes what runs."""
    made, at_once = [], []

    def opened(*arguments):
        made.append(Processes())
        return made[-1]

    def look(futures, **_):
        at_once.append(Counter(number for _, number in made[-1].left))
        made[-1].end_one()
        return {future for future in futures if future.done()}, set()

    for module in (pool, running):
        monkeypatch.setattr(module, "gpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(pool, "ProcessPoolExecutor", opened)
    monkeypatch.setattr(pool, "wait", look)
    monkeypatch.setattr(pool.runs, "find", lambda *_: None)
    return made, at_once


def test_every_gpu_has_a_part_of_its_own(processes):
    made, at_once = processes
    execute(TINY, 6)
    [pool] = made
    assert len(pool.given) == 6 * (1 + 3 + 1)  # weights, stages, end
    assert max(sum(counts.values()) for counts in at_once) == 4
    assert all(count == 1 for counts in at_once for count in counts.values())
    assert {number for _, number in pool.given} == {0, 1, 2, 3}


def test_more_parts_than_gpus_are_spread_over_them(processes):
    _, at_once = processes
    execute(TINY, 6, at_once=6)
    busiest = max(at_once, key=lambda counts: sum(counts.values()))
    assert sorted(busiest.values()) == [1, 1, 2, 2]


def test_processes_beside_one_another_begin_with_other_gpus(processes, monkeypatch, tmp_path):
    made, _ = processes
    beside = [claimed([0, 1, 2, 3], runs_folder()) for _ in range(3)]
    assert [gpus[0] for gpus, _ in beside] == [0, 1, 2]
    assert beside[1][0] == [1, 0, 2, 3]
    execute(TINY, 1, at_once=1)
    assert {number for _, number in made[0].given} == {3}
    for _, lock in beside[1:]:
        lock.release()  # GPU 3 is free too, since its process has ended
    assert claimed([0, 1], runs_folder())[0] == [1, 0]


def test_more_processes_than_gpus_share_them_evenly(tmp_path):
    beside = [claimed([0, 1], tmp_path) for _ in range(5)]
    assert [gpus[0] for gpus, _ in beside] == [0, 1, 0, 1, 0]
    assert claimed([], tmp_path) == ([], None)


def test_a_gpu_goes_by_the_name_that_all_processes_know(monkeypatch, tmp_path):
    held = [claimed([0, 1], tmp_path)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    held.append(claimed([0, 1], tmp_path))
    assert held[1][0] == [0, 1]  # the other one of the machine
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert claimed([0], tmp_path)[0] == [0]


def test_a_machine_without_gpus_has_none_to_give(processes, monkeypatch):
    monkeypatch.setattr(pool, "gpus", list)
    execute(TINY, 1, at_once=2)
    assert {number for _, number in processes[0][0].given} == {None}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["addmul-fnn", "addmul-lstm", "scan", "cifar10", "permuted-equal"])
def test_a_run_is_made_on_a_gpu_and_its_masks_come_back(name):
    config = preset(name, "smoke")
    [run] = execute(config)
    assert run.provenance()["device"] == "cuda"
    assert {mask.device.type for stage in config.stages for mask in run.masks(stage).values()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_without_a_gpu_there_is_none_to_use_and_a_sentence_says_so(capsys):
    assert gpus() == []
    assert gpu.main() == 2
    assert "finds no GPU here: run this on a machine with one" in capsys.readouterr().err


def test_every_part_is_shown_also_after_one_that_fails(monkeypatch, capfd):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "machine", lambda: "1 x Stand-in")
    said = {"fails": ["-c", "raise SystemExit(3)"], "passes": ["-c", "print('shown')"]}
    monkeypatch.setattr(gpu, "PARTS", said)
    assert gpu.main() == 1
    lines = capfd.readouterr().out.splitlines()
    assert "shown" in lines and "  1 x Stand-in" in lines
    assert [line.partition(" in ")[0] for line in lines[-2:]] == ["  fails: failed (3)", "  passes: passed"]
