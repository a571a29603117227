"""A process that makes parts of runs for :func:`reproduction.runs.execute.execute`: beginning, work, end."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import platform
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from modules_lib.masking.masks import Masks
from modules_lib.support.memory import keep_freed_memory
from modules_lib.training.progress import Progress
from reproduction.protocol.config import Config
from reproduction.runs.make import finish, keep

SECONDS_BETWEEN_REPORTS = 0.25

_worker: dict[str, Any] = {}  # the event and the queue that a worker process has from its parent, and its progress


def gpus() -> list[int]:
    """List the GPUs that this process may use, which the environment variable CUDA_VISIBLE_DEVICES can restrict."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []


def claimed(gpus: list[int], folder: Path) -> tuple[list[int], FileLock | None]:
    """Put the GPU first that fewest other processes on this machine have put first.

    Args:
        gpus: those that this process may use.
        folder: of the locks that these processes hold.

    Returns:
        the GPUs, and the lock to be released; None without GPUs.
    """
    if not gpus:
        return gpus, None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # may name GPUs otherwise than in the other processes
    names = dict(enumerate(visible.split(","))) if visible else {}
    folder.mkdir(parents=True, exist_ok=True)
    turns = ((turn, gpu) for turn in itertools.count() for gpu in gpus)
    places = ((gpu, f".gpu-{platform.node()}-{names.get(gpu, gpu)}-{turn}.lock") for turn, gpu in turns)
    locks = ((gpu, FileLock(folder / name)) for gpu, name in places)
    first, lock = next((gpu, lock) for gpu, lock in locks if _taken(lock))
    return [first, *(gpu for gpu in gpus if gpu != first)], lock


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def begin_worker(stop: Any, reports: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then sets `stop`
    signal.signal(signal.SIGTERM, _end_worker)  # as a cluster ends a job whose time is over
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


def work(config: Config, seed: int, part: str, gpu: int | None = None) -> None:
    """Make one part of a run in a worker process, from the checkpoints of those before it, on this GPU."""
    if gpu is not None:
        torch.cuda.set_device(gpu)
    last = 0.0
    progress = Progress()
    keep(progress, config, seed)

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
            finish(config, seed, progress)
            return
        model, _ = config.train(seed, progress)
        if part != "weights":
            made: dict[str, Masks] = {}
            for stage in (*config.needs(part), part):
                made[stage], _ = config.find_masks(model, seed, stage, progress, made)
    except KeyboardInterrupt:
        if not _worker["stop"].is_set():
            os._exit(1)  # the parent did not ask for this, and must learn of it if it is still there
    finally:
        _worker["progress"] = None
