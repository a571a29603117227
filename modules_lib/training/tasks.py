"""Training the masks of several tasks of one model, one after another or in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from torch import nn
from tqdm.auto import tqdm

from modules_lib.masking.masks import Masks
from modules_lib.training.batches import Batches, as_function
from modules_lib.training.loops import Loss
from modules_lib.training.mask_training import MaskTraining
from modules_lib.training.progress import Progress
from modules_lib.training.task_store import TaskStore


def train_tasks(
    model: nn.Module,
    tasks: Mapping[str, Batches],
    loss: Loss,
    alpha: float,
    training: MaskTraining,
    store: TaskStore | None,
    jobs: int,
    progress: bool,
) -> dict[str, Masks]:
    """Find the masks of all tasks; those that a store has are taken from there.

    Raises:
        ValueError: processes of their own cannot be given the model, the batches or the loss.
        KeyboardInterrupt: on Ctrl-C; a store then has the state of what was under way.
    """
    found = {name: masks for name in tasks if store and (masks := store.masks(name))}
    left = {name: batches for name, batches in tasks.items() if name not in found}
    total = training.steps * len(tasks)
    begun = training.steps * len(found)
    with tqdm(total=total, unit="step", initial=begun, leave=False, disable=not progress) as bar:
        if jobs == 1 or len(left) < 2:
            for name, batches in left.items():
                bar.set_description(name)
                found[name] = train_task(model, name, batches, loss, alpha, training, store, bar)
        else:
            for name, masks in _in_processes(model, left, loss, alpha, training, store, jobs):
                found[name] = masks
                bar.update(training.steps)
    return found


def train_task(
    model: nn.Module,
    name: str,
    batches: Batches,
    loss: Loss,
    alpha: float,
    training: MaskTraining,
    store: TaskStore | None = None,
    bar: tqdm | None = None,
) -> Masks:
    """Find the masks of one task, from the last checkpoint on where a store has one, and store them."""
    masked = training.masked(model, name)
    begun = bar.n if bar is not None else 0

    def tick(_: str, steps: int) -> None:
        if bar is not None:
            bar.update(begun + steps - bar.n)

    run = Progress(tick, checkpoint=store.checkpoint if store else None)
    with _stopping(run) if store else contextlib.nullcontext():
        batch = as_function(name, batches, masked.logits.device)
        for _ in training.of(masked, batch, loss, alpha, run.loop(store.loop(name) if store else name)):
            pass
    masks = masked.masks()
    if store:
        store.keep(name, masks)
    return masks


@contextlib.contextmanager
def _stopping(run: Progress) -> Iterator[None]:
    """Let Ctrl-C end a training after the step that is being made, with a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        run.stopping = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_processes(
    model: nn.Module,
    tasks: Mapping[str, Batches],
    loss: Loss,
    alpha: float,
    training: MaskTraining,
    store: TaskStore | None,
    jobs: int,
) -> Iterator[tuple[str, Masks]]:
    given = {name: (model, name, batches, loss, alpha, training, store) for name, batches in tasks.items()}
    try:
        pickle.dumps(given)
    except Exception as error:
        raise ValueError(
            f"Processes of their own cannot be given these tasks ({error}); take functions of a module instead of ones "
            "within functions or cells, or jobs=1."
        ) from error
    threads = max(1, torch.get_num_threads() // jobs)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may stand still
    with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
        futures = {pool.submit(train_task, *arguments): name for name, arguments in given.items()}
        for future in as_completed(futures):
            yield futures[future], future.result()
