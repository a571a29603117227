"""Making runs: those that are stored are loaded, the others are trained, several at once, with progress."""

from __future__ import annotations

import contextlib
import datetime
import functools
import multiprocessing
import os
import queue
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from modules_lib import runs
from modules_lib.checks import check_count
from modules_lib.experiments.config import Config
from modules_lib.masks import Masks
from modules_lib.memory import keep_freed_memory
from modules_lib.progress import Progress, Rows
from modules_lib.provenance import provenance
from modules_lib.runs import Run

Job = tuple[Config, int]  # config and seed

SECONDS_BETWEEN_REPORTS = 0.25
SECONDS_TO_END = 60  # for a checkpoint to be written


def make(config: Config, seed: int, progress: Progress) -> Run:
    """Train, mask, measure and store one run, here and now, going on from its checkpoints where it has any.

    Where another process is making it, that one is waited for.
    """
    with _held(runs.lock(config, seed), progress):
        finished = runs.find(config, seed)
        if finished:
            return finished
        started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
        progress.checkpoint = functools.partial(runs.checkpoint, config, seed)
        model, rows = config.train(seed, progress)
        masks: dict[str, Masks] = {}
        curves: Rows = []
        for stage in config.stages:
            masks[stage], curve = config.find_masks(model, seed, stage, progress)
            curves += curve
        rows = config.measure(model, masks) + rows + curves
        seconds = progress.elapsed + time.perf_counter() - clock
        return runs.save(config, seed, model, masks, rows, provenance(started, seconds))


@contextlib.contextmanager
def _held(lock: FileLock, progress: Progress) -> Iterator[None]:
    """Hold a lock, for which one can be stopped from waiting."""
    while not lock.is_locked:
        if progress.stopping:
            raise KeyboardInterrupt
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.5)
        progress.tick("" if lock.is_locked else "another process makes it", 0)
    try:
        yield
    finally:
        lock.release()


def execute(configs: Config | Sequence[Config], seeds: int | Iterable[int] = 1) -> list[Run]:
    """The finished runs of every config and seed, trained where they are not in the store yet or damaged there.

    Each run has a process of its own with one thread, so that its result does not depend on what else is running; on
    a GPU they take turns, on a CPU there are as many at once as there are cores.

    Args:
        configs: one config or several.
        seeds: that many, counted from 0, or the seeds themselves.

    Raises:
        ValueError: seeds is not a whole number of at least 1, nor some of at least 0, or runs cannot be stored.
        RuntimeError: a run failed or was stopped; those that finished are kept, and so are checkpoints.
    """
    configs = [configs] if isinstance(configs, Config) else list(configs)
    jobs = [(config, seed) for seed in _seeds(seeds) for config in configs]
    missing = [job for job in jobs if runs.find_sound(*job) is None]
    if missing:
        runs.check_writable()
        # The longest first, so that the last to finish is not alone.
        _train(sorted(missing, key=lambda job: -job[0].work()))
    return [Run(runs.folder_of(config, seed)) for config, seed in jobs]


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, Iterable) and not isinstance(seeds, str):
        chosen = [check_count("a seed", seed, least=0) for seed in seeds]
        if not chosen:
            raise ValueError("seeds is empty; name at least one seed, or say how many.")
        return chosen
    return list(range(check_count("seeds", seeds)))


def _work(job: Job, number: int, reports: Any) -> None:
    """What a worker process does: one run, telling its parent how far it is. Asked to stop, it saves a checkpoint."""
    torch.set_num_threads(1)
    keep_freed_memory()
    done, last = 0, 0.0

    def tick(loop: str, steps: int) -> None:
        nonlocal done, last
        done += steps
        if time.monotonic() - last > SECONDS_BETWEEN_REPORTS:
            reports.put((number, "at", (loop, done)))
            done, last = 0, time.monotonic()

    progress = Progress(tick)

    def stop(*_: Any) -> None:
        progress.stopping = True

    for wish in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C; a parent that ends, or a cluster whose time is up
        signal.signal(wish, stop)
    try:
        make(*job, progress)
        reports.put((number, "done", None))
    except KeyboardInterrupt:
        reports.put((number, "stopped", None))
    except Exception as error:
        reports.put((number, "failed", (str(error).splitlines()[:1], traceback.format_exc())))


def _at_once() -> int:
    """How many runs share the machine: one on a GPU, else one a core that this process may use."""
    if torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _train(jobs: list[Job]) -> None:
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    at_once = _at_once()
    waiting = list(enumerate(jobs))
    workers: dict[int, Any] = {}
    bars: dict[int, tqdm] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < at_once:
                number, (config, seed) = waiting.pop(0)
                name = f"{config.experiment} seed {seed}"
                bars[number] = tqdm(total=config.work(), desc=name, unit="step", file=sys.stdout, dynamic_ncols=True)
                workers[number] = context.Process(target=_work, args=((config, seed), number, reports))
                workers[number].start()
            _check_alive(workers, jobs)
            with contextlib.suppress(queue.Empty):
                _handle(reports.get(timeout=1), workers, bars)
    finally:
        _end(workers)
        for bar in bars.values():
            bar.close()


def _end(workers: dict[int, Any]) -> None:
    """Let the workers save their checkpoints and wait for them; an impatient second Ctrl-C ends them at once."""
    for worker in workers.values():
        worker.terminate()
    try:
        for worker in workers.values():
            worker.join(SECONDS_TO_END)
    finally:
        for worker in workers.values():
            if worker.is_alive():
                worker.kill()


def _handle(report: tuple[int, str, Any], workers: dict[int, Any], bars: dict[int, tqdm]) -> None:
    number, kind, content = report
    bar = bars[number]
    if kind == "at":
        phase, steps = content
        bar.set_postfix_str(phase, refresh=False)
        bar.update(steps)
        return
    workers.pop(number).join()
    if kind == "stopped":
        raise RuntimeError(f"{bar.desc.rstrip(': ')} was stopped; the same command goes on from its checkpoint.")
    if kind == "failed":
        reason, trace = content
        failure = RuntimeError(f"{bar.desc.rstrip(': ')} failed: {reason[0] if reason else 'no message'}")
        failure.add_note(trace)
        raise failure
    bar.update(bar.total - bar.n)
    bar.set_postfix_str("done")


def _check_alive(workers: dict[int, Any], jobs: list[Job]) -> None:
    """A worker that was killed, by the system for want of memory perhaps, reports nothing."""
    for number, worker in workers.items():
        if worker.exitcode:
            config, seed = jobs[number]
            raise RuntimeError(
                f"The process of {config.experiment} seed {seed} ended with code {worker.exitcode} before the run was "
                "finished (-9 often means that memory ran out); free some memory or take a smaller scale, and the same "
                "command goes on from the last checkpoint."
            )
