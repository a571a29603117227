"""The processes that make runs, and the order in which parts of runs are given to them."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from reproduction.protocol.config import Config
from reproduction.runs import store as runs
from reproduction.runs.worker import SECONDS_BETWEEN_REPORTS, begin_worker, claimed, gpus, work


@dataclass(eq=False)
class Job:
    """A run to be made, and how far its parts are: "weights", then the stages, then "all".

    Attributes:
        alone: whether a process ended while it made this run; then nothing is made beside it.
        failed: why it could not be made, in a sentence.
    """

    config: Config
    seed: int
    lock: FileLock | None = None
    running: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)  # by training loop
    bar: tqdm | None = None
    alone: bool = False
    failed: str = ""

    def __str__(self) -> str:
        return f"{self.config.experiment} seed {self.seed}"

    @property
    def over(self) -> bool:
        return bool(self.failed) or "all" in self.made

    def turn(self) -> tuple[bool, bool, int]:
        """Rank the job: begun runs come first, then those with most left, so that the last to finish is not alone.

        Runs that must have the machine to themselves come last.
        """
        return self.alone, self.lock is None, sum(self.steps.values()) - self.config.work()

    def ready(self) -> list[str]:
        """List the parts that could be begun now."""
        if self.over:
            return []
        left = [stage for stage in self.config.apart if stage not in self.made]
        if "weights" not in self.made:
            parts = ["weights"]
        elif left:
            parts = [stage for stage in left if self.made.issuperset(self.config.needs(stage))]
        else:
            parts = ["all"]
        return [part for part in parts if part not in self.running | self.made]

    def take(self) -> bool:
        """Try to become the process that makes the run; where another is, it is asked again later."""
        if self.lock is None:
            lock = runs.lock(self.config, self.seed)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                self._open_bar().set_postfix_str("another process makes it")
                return False
            self.lock = lock
            runs.forget_failure(self.config, self.seed)
            if runs.find(self.config, self.seed):
                self.end()
        return not self.over

    def begin(self, pool: ProcessPoolExecutor, part: str, gpu: int | None) -> Future[None]:
        self._open_bar()
        future = pool.submit(work, self.config, self.seed, part, gpu)
        self.running.add(part)
        return future

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

    def fail(self, reason: str) -> None:
        """Begin no other part of the run; those that are being made now come to their end."""
        self.failed = self.failed or reason
        if self.bar is not None:
            self.bar.set_postfix_str("failed")
        runs.record_failure(self.config, self.seed, self.failed)

    def end(self, part: str = "all") -> None:
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


class Training:
    """Worker processes, and the parts of runs that they make now, each on the GPU that has fewest of them.

    Where several processes train beside one another, as under snakemake, each begins with a GPU of its own.

    A process that is killed takes all others with it. Their runs then go on from their checkpoints, each run alone;
    one whose process ends again has failed.
    """

    def __init__(self, jobs: list[Job], at_once: int):
        self.jobs, self.at_once = jobs, at_once
        self.context = multiprocessing.get_context("spawn")
        self._open_pool()
        self.gpus, self.claim = claimed(gpus(), runs.runs_folder())
        self.running: dict[Future[None], tuple[Job, str, int | None]] = {}

    def _open_pool(self) -> None:
        """Open a pool with an event and a queue of its own: a killed process may hold the old ones for ever."""
        self.stop, self.reports = self.context.Event(), self.context.Queue()
        given = (self.stop, self.reports)
        self.pool = ProcessPoolExecutor(self.at_once, self.context, begin_worker, given)

    def to_the_end(self) -> None:
        """Make all runs, but for those that fail."""
        try:
            while not all(job.over for job in self.jobs) or self.running:
                self._begin()
                done, _ = wait(self.running, timeout=SECONDS_BETWEEN_REPORTS, return_when=FIRST_COMPLETED)
                self._show()
                if not self.running:
                    time.sleep(SECONDS_BETWEEN_REPORTS)  # all that is left is being made by other processes
                self._collect(done)
        finally:
            self.stop.set()  # what still runs saves a checkpoint
            try:
                self.pool.shutdown(cancel_futures=True)
            finally:  # whoever is impatient leaves no locks
                for job in self.jobs:
                    job.close()
                if self.claim is not None:
                    self.claim.release()

    def _begin(self) -> None:
        """Begin as many parts as there is room for."""
        try:
            for job in sorted(self.jobs, key=Job.turn):
                for part in job.ready():
                    if self._has_room(job) and job.take():
                        gpu = self._least_used_gpu()
                        self.running[job.begin(self.pool, part, gpu)] = (job, part, gpu)
        except BrokenProcessPool:
            if not self.running:  # else those that are running say so, too
                self._begin_anew([])

    def _least_used_gpu(self) -> int | None:
        """The GPU on which fewest parts are being made; None where there is none."""
        used = [gpu for _, _, gpu in self.running.values()]
        return min(self.gpus, key=used.count, default=None)

    def _has_room(self, job: Job) -> bool:
        if job.alone or any(other.alone for other, _, _ in self.running.values()):
            return not self.running
        return len(self.running) < self.at_once

    def _collect(self, done: Iterable[Future[None]]) -> None:
        broken = []
        for future in done:
            job, part, _ = self.running.pop(future)
            job.running.discard(part)
            try:
                future.result()
            except BrokenProcessPool:
                broken.append(job)
            except Exception as error:
                job.fail((str(error).splitlines() or ["no message"])[0])
            else:
                job.end(part)
            if job.failed and not job.running:
                job.close()
        if broken:
            self._begin_anew(broken)

    def _begin_anew(self, broken: list[Job]) -> None:
        """Go on with other processes after one was killed."""
        wait(self.running)  # all that the pool had ends
        for job, part, _ in self.running.values():
            job.running.discard(part)
            broken.append(job)
        self.running.clear()
        self.pool.shutdown(wait=True)
        self._open_pool()
        for job in set(broken):
            if job.alone:
                job.fail(
                    "its process was killed twice, often because memory ran out, or said above why it ended: free some "
                    "memory or take a smaller scale, and the same command goes on from the last checkpoint"
                )
                job.close()
            job.alone = True

    def _show(self) -> None:
        jobs = {(job.config, job.seed): job for job, _, _ in self.running.values()}
        with contextlib.suppress(queue.Empty):
            while True:
                config, seed, loop, steps = self.reports.get_nowait()
                if (config, seed) in jobs:
                    jobs[config, seed].show(loop, steps)
