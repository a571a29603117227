"""Making one run, here and now: its weights, its masks, its measurements, one after another."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator

from filelock import FileLock, Timeout

from modules_lib.masking.masks import Masks
from modules_lib.training.progress import Progress, Rows
from reproduction.protocol.config import Config
from reproduction.runs import store as runs
from reproduction.runs.provenance import origin, provenance
from reproduction.runs.store import Run


def make(config: Config, seed: int, progress: Progress) -> Run:
    """Train, mask, measure and store one run, here and now, going on from its checkpoints where it has any.

    Where another process is making the run, wait for its end.
    """
    keep(progress, config, seed)
    with _held(runs.lock(config, seed), progress):
        return runs.find(config, seed) or finish(config, seed, progress)


def keep(progress: Progress, config: Config, seed: int) -> None:
    """Give a part of a run, at its beginning, its checkpoints and the name of the code that makes it."""
    progress.checkpoint, progress.code = functools.partial(runs.checkpoint, config, seed), [origin()]


def finish(config: Config, seed: int, progress: Progress) -> Run:
    """Make all parts of a run; those that were made, here or in other processes, are taken from checkpoints."""
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
    """Hold a lock; a run that is stopped ends the wait for it with a KeyboardInterrupt."""
    while not lock.is_locked:
        if progress.stopping:
            raise KeyboardInterrupt
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=0.5)
    try:
        yield
    finally:
        lock.release()
