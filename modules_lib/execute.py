"""Making runs: those that are stored are loaded, the others are trained, several at once, with progress."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
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
from modules_lib.provenance import commit, provenance
from modules_lib.runs import Run

SECONDS_BETWEEN_REPORTS = 0.25


def make(config: Config, seed: int, progress: Progress) -> Run:
    """Train, mask, measure and store one run, here and now, going on from its checkpoints where it has any.

    Where another process is making it, that one is waited for.
    """
    _keep(progress, config, seed)
    with _held(runs.lock(config, seed), progress):
        return runs.find(config, seed) or _finish(config, seed, progress)


def _keep(progress: Progress, config: Config, seed: int) -> None:
    """Give a part of a run, at its beginning, its checkpoints and the name of the code that makes it."""
    progress.checkpoint, progress.code = functools.partial(runs.checkpoint, config, seed), [commit()]


def _finish(config: Config, seed: int, progress: Progress) -> Run:
    """All parts of a run; those that have been made, here or in other processes, are taken from their checkpoints."""
    clock = time.perf_counter()
    model, rows = config.train(seed, progress)
    masks: dict[str, Masks] = {}
    curves: Rows = []
    for stage in config.stages:
        masks[stage], curve = config.find_masks(model, seed, stage, progress, masks)
        curves += curve
    rows = config.measure(model, masks) + rows + curves
    seconds = progress.elapsed + time.perf_counter() - clock
    about = provenance(progress.code, progress.started, seconds) | {"data": config.source}
    return runs.save(config, seed, model, masks, rows, about)


@contextlib.contextmanager
def _held(lock: FileLock, progress: Progress) -> Iterator[None]:
    """Hold a lock, for which one can be stopped from waiting."""
    while not lock.is_locked:
        if progress.stopping:
            raise KeyboardInterrupt
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.5)
    try:
        yield
    finally:
        lock.release()


def execute(
    configs: Config | Sequence[Config], seeds: int | Iterable[int] = 1, at_once: int | None = None
) -> list[Run]:
    """The finished runs of every config and seed, trained where they are not in the store yet or damaged there.

    Weights come first, then each stage's masks, beside one another where there are cores. Every part is made by one
    thread, so that its result does not depend on what else is running; on a GPU parts take turns.

    Args:
        configs: one config or several.
        seeds: that many, counted from 0, or the seeds themselves.
        at_once: how many parts; by default one a core, or one on a GPU.

    Raises:
        ValueError: at_once or seeds is not a whole number of at least 1 or, as seeds themselves, of at least 0; or runs
            cannot be stored.
        RuntimeError: a run failed; those that finished are kept, and so are checkpoints.
    """
    configs = [configs] if isinstance(configs, Config) else list(configs)
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "The processes that train import your script anew, and it would start them again: put what it does under "
            '`if __name__ == "__main__":`.'
        )
    jobs = [(config, seed) for seed in _seeds(seeds) for config in configs]
    for job in jobs:
        if runs.find(*job):
            runs.set_aside_if_damaged(*job)
    missing = [_Job(*job) for job in jobs if runs.find(*job) is None]
    if missing:
        runs.check_writable()
        _train(missing, _default_at_once() if at_once is None else check_count("at_once", at_once))
    return [Run(runs.folder_of(config, seed)) for config, seed in jobs]


def _seeds(seeds: int | Iterable[int]) -> list[int]:
    if isinstance(seeds, Iterable) and not isinstance(seeds, str):
        chosen = [check_count("a seed", seed, least=0) for seed in seeds]
        if not chosen:
            raise ValueError("seeds is empty; name at least one seed, or say how many.")
        return chosen
    return list(range(check_count("seeds", seeds)))


@dataclass(eq=False)
class _Job:
    """A run to be made, and how far its parts are: "weights", then the stages, then "all"."""

    config: Config
    seed: int
    lock: FileLock | None = None
    running: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)  # by training loop
    bar: tqdm | None = None

    def __str__(self) -> str:
        return f"{self.config.experiment} seed {self.seed}"

    def turn(self) -> tuple[bool, int]:
        """Runs that are begun come first, then those with most left, so that the last to finish is not alone."""
        return self.lock is None, sum(self.steps.values()) - self.config.work()

    def ready(self) -> list[str]:
        """The parts that could be begun now."""
        left = [stage for stage in self.config.apart if stage not in self.made]
        if "weights" not in self.made:
            parts = ["weights"]
        elif left:
            parts = [stage for stage in left if self.made.issuperset(self.config.needs(stage))]
        else:
            parts = ["all"]
        return [part for part in parts if part not in self.running | self.made]

    def take(self) -> bool:
        """Whether this process is the one that makes the run; where another is, it is asked again later."""
        if self.lock is None:
            lock = runs.lock(self.config, self.seed)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                self._open_bar().set_postfix_str("another process makes it")
                return False
            self.lock = lock
            if runs.find(self.config, self.seed):
                self.end()
        return "all" not in self.made

    def begin(self, pool: ProcessPoolExecutor, part: str) -> Future[None]:
        self._open_bar()
        self.running.add(part)
        return pool.submit(_work, self.config, self.seed, part)

    def show(self, loop: str, steps: int) -> None:
        self.steps[loop] = max(steps, self.steps.get(loop, 0))
        bar = self._open_bar()
        bar.set_postfix_str(loop, refresh=False)
        bar.update(sum(self.steps.values()) - bar.n)

    def _open_bar(self) -> tqdm:
        if self.bar is None:
            total = self.config.work()
            self.bar = tqdm(total=total, desc=str(self), unit="step", file=sys.stdout, dynamic_ncols=True)
        return self.bar

    def end(self, part: str = "all") -> None:
        self.running.discard(part)
        self.made.add(part)
        if part == "all":
            if self.bar is not None:
                self.bar.set_postfix_str("done", refresh=False)
                self.bar.update(self.bar.total - self.bar.n)
            self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self.lock is not None:
            self.lock.release()


def _train(jobs: list[_Job], at_once: int) -> None:
    context = multiprocessing.get_context("spawn")
    stop, reports = context.Event(), context.Queue()
    pool = ProcessPoolExecutor(at_once, mp_context=context, initializer=_begin_worker, initargs=(stop, reports))
    running: dict[Future[None], tuple[_Job, str]] = {}
    try:
        while any("all" not in job.made for job in jobs):
            for job in sorted(jobs, key=_Job.turn):
                for part in job.ready():
                    if len(running) < at_once and job.take():
                        running[job.begin(pool, part)] = (job, part)
            done, _ = wait(running, timeout=SECONDS_BETWEEN_REPORTS, return_when=FIRST_COMPLETED)
            _show(reports, running)
            if not running:
                time.sleep(SECONDS_BETWEEN_REPORTS)  # all that is left is being made by other processes
            for future in done:
                job, part = running.pop(future)
                _check(future, job)
                job.end(part)
    finally:
        stop.set()  # what still runs saves a checkpoint
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # whoever is impatient leaves no locks
            for job in jobs:
                job.close()


def _show(reports: Any, running: dict[Future[None], tuple[_Job, str]]) -> None:
    jobs = {(job.config, job.seed): job for job, _ in running.values()}
    with contextlib.suppress(queue.Empty):
        while True:
            config, seed, loop, steps = reports.get_nowait()
            if (config, seed) in jobs:
                jobs[config, seed].show(loop, steps)


def _check(future: Future[None], job: _Job) -> None:
    """Raise what went wrong in a worker as one sentence."""
    try:
        future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"A process that made {job} or a run beside it was killed, often because memory ran out, or said above why "
            "it ended: free some memory or take a smaller scale; the same command goes on from the last checkpoint."
        ) from error
    except Exception as error:
        reason = (str(error).splitlines() or ["no message"])[0]
        raise RuntimeError(f"{job} failed: {reason}") from error


_worker: dict[str, Any] = {}  # what a worker process has from its parent


def _begin_worker(stop: Any, reports: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then sets `stop`
    signal.signal(signal.SIGTERM, _end_worker)  # as a cluster ends what has had its time
    torch.set_num_threads(1)
    keep_freed_memory()
    _worker.update(stop=stop, reports=reports, progress=None)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process when its parent is gone, after a checkpoint; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    while True:
        _end_worker()
        time.sleep(SECONDS_BETWEEN_REPORTS)


def _end_worker(*_: Any) -> None:
    if _worker["progress"] is None:
        os._exit(0)
    _worker["progress"].stopping = True


def _work(config: Config, seed: int, part: str) -> None:
    """In a worker process: make one part of a run, from the checkpoints of those before it."""
    last = 0.0
    progress = Progress()
    _keep(progress, config, seed)

    def tick(loop: str, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            _worker["reports"].put((config, seed, loop, steps))
            progress.stopping = progress.stopping or _worker["stop"].is_set()

    progress.tick = tick
    _worker["progress"] = progress
    try:
        if part == "all":
            _finish(config, seed, progress)
            return
        model, _ = config.train(seed, progress)
        if part != "weights":
            made: dict[str, Masks] = {}
            for stage in (*config.needs(part), part):
                made[stage], _ = config.find_masks(model, seed, stage, progress, made)
    except KeyboardInterrupt:
        if not _worker["stop"].is_set():
            os._exit(1)  # not the parent's wish: it is to hear of it, if it is still there
    finally:
        _worker["progress"] = None


def _default_at_once() -> int:
    """One on a GPU, else one a core that this process may use."""
    if torch.cuda.is_available():
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
