"""Training the masks of several tasks of one model, one after another or in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import torch
from torch import nn
from tqdm.auto import tqdm

from modules_lib.masking.masks import Masks
from modules_lib.training.batches import Batches, as_function
from modules_lib.training.loops import Loss
from modules_lib.training.mask_training import MaskTraining
from modules_lib.training.progress import Progress
from modules_lib.training.task_store import TaskStore


@dataclass(frozen=True)
class TaskTraining:
    """The training of masks for tasks of one model, one after another or in processes of their own.

    Attributes:
        model, loss, alpha: as for :func:`modules_lib.training.find.find_masks`.
        training: the settings, the same for each task.
        store: keeps finished tasks and checkpoints; None keeps nothing.
    """

    model: nn.Module
    loss: Loss
    alpha: float
    training: MaskTraining
    store: TaskStore | None = None

    def all(self, tasks: Mapping[str, Batches], jobs: int, progress: bool) -> dict[str, Masks]:
        """Find the masks of all tasks; those that the store has are taken from there.

        Raises:
            ValueError: processes of their own cannot be given the model, the batches or the loss.
            KeyboardInterrupt: on Ctrl-C; the store then has the state of what was under way.
        """
        found = {name: masks for name in tasks if self.store and (masks := self.store.masks(name))}
        left = {name: batches for name, batches in tasks.items() if name not in found}
        steps = self.training.steps
        with tqdm(
            total=steps * len(tasks), unit="step", initial=steps * len(found), leave=False, disable=not progress
        ) as bar:
            if jobs == 1 or len(left) < 2:
                for name, batches in left.items():
                    bar.set_description(name)
                    found[name] = self.one(name, batches, bar)
            else:
                for name, masks in self._in_processes(left, jobs):
                    found[name] = masks
                    bar.update(steps)
        return found

    def one(self, name: str, batches: Batches, bar: tqdm | None = None) -> Masks:
        """Find the masks of one task, from the last checkpoint on where the store has one, and store them."""
        masked = self.training.masked(self.model, name)
        begun = bar.n if bar is not None else 0

        def tick(_: str, steps: int) -> None:
            if bar is not None:
                bar.update(begun + steps - bar.n)

        store = self.store
        run = Progress(tick, checkpoint=store.checkpoint if store else None)
        with _stopping(run) if store else contextlib.nullcontext():
            batch = as_function(name, batches, masked.logits.device)
            loop = run.loop(store.loop(name) if store else name)
            for _ in self.training.of(masked, batch, self.loss, self.alpha, loop):
                pass
        masks = masked.masks()
        if store:
            store.keep(name, masks)
        return masks

    def _in_processes(self, tasks: Mapping[str, Batches], jobs: int) -> Iterator[tuple[str, Masks]]:
        try:
            pickle.dumps((self, dict(tasks)))
        except Exception as error:
            raise ValueError(
                f"Processes of their own cannot be given these tasks ({error}); take functions of a module instead of "
                "ones within functions or cells, or jobs=1."
            ) from error
        threads = max(1, torch.get_num_threads() // jobs)
        context = multiprocessing.get_context("spawn")  # a fork of a process with threads may stand still
        with ProcessPoolExecutor(jobs, context, torch.set_num_threads, (threads,)) as pool:
            futures = {pool.submit(self.one, name, batches): name for name, batches in tasks.items()}
            for future in as_completed(futures):
                yield futures[future], future.result()


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
