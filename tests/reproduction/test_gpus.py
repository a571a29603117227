"""Several GPUs: which part of a run is given to which, with stand-ins for the devices and for the processes."""

from collections import Counter
from concurrent.futures import Future

import pytest
import torch

from modules_lib.support.device import gpus
from reproduction.experiments import preset
from reproduction.runs import execute as running
from reproduction.runs import pool
from reproduction.runs.execute import execute

TINY = preset("addmul-fnn", "smoke", hidden=(8,), weight_steps=2, mask_steps=2)


class Processes:
    """Stands in for worker processes: makes no part until :meth:`end_one`, and notes the GPU that each is given."""

    def __init__(self, *_):
        self.given, self.left = [], []

    def submit(self, work, config, seed, part, gpu):
        future = Future()
        self.given.append(((seed, part), gpu))
        self.left.append((future, gpu))
        return future

    def end_one(self):
        future, gpu = self.left.pop(0)
        future.set_result(None)
        return gpu

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
        at_once.append(Counter(gpu for _, gpu in made[-1].left))
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
    assert {gpu for _, gpu in pool.given} == {0, 1, 2, 3}


def test_more_parts_than_gpus_are_spread_over_them(processes):
    _, at_once = processes
    execute(TINY, 6, at_once=6)
    busiest = max(at_once, key=lambda counts: sum(counts.values()))
    assert sorted(busiest.values()) == [1, 1, 2, 2]


def test_a_machine_without_gpus_has_none_to_give(processes, monkeypatch):
    monkeypatch.setattr(pool, "gpus", list)
    execute(TINY, 1, at_once=2)
    assert {gpu for _, gpu in processes[0][0].given} == {None}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs here")
def test_there_are_no_gpus_without_cuda():
    assert gpus() == []
