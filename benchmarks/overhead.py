"""What progress and checkpoints cost a laptop-scale run: ``python -m benchmarks.overhead``.

Steps of mask training with and without them take turns. A checkpoint is timed by itself, and counted once every two
minutes, as in a run.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from modules_lib.datasets import arithmetic
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.training.checkpoints import Checkpoint
from modules_lib.training.loops import mask_steps
from modules_lib.training.mask_adam import MaskAdam
from modules_lib.training.progress import Loop, Progress, checkpoint_seconds
from reproduction.experiments import preset
from reproduction.experiments.addmul import AddMul

NETWORKS = ("addmul-fnn", "addmul-lstm")
ROUNDS, BLOCK = 20, 20


def measure(experiment: str, folder: Path) -> tuple[float, float]:
    """Seconds of a bare step, and the share that is added to it."""
    config = preset(experiment)
    assert isinstance(config, AddMul)
    data = arithmetic.Arithmetic.of("add", "mul")

    def steps(loop: Loop | None) -> tuple[MaskedModel, Iterator[Tensor]]:
        masked = MaskedModel(config.model(), config.samples, precision=config.precision)
        batch = lambda step: data.batch(config.batch, 0, "overhead", step)  # noqa: E731
        return masked, mask_steps(masked, batch, arithmetic.loss, steps=10**9, alpha=config.alpha, loop=loop)

    progress = Progress(lambda name, made: None, lambda name: Checkpoint(folder, name, {}))
    _, bare = steps(None)
    masked, watched = steps(progress.loop("masks", lambda made, loss: [{"kept": masked.masks().kept()}]))
    times: dict[str, list[float]] = {"bare": [], "watched": []}
    for _, (name, kind) in itertools.product(range(ROUNDS), (("bare", bare), ("watched", watched))):
        began = time.perf_counter()
        for _ in range(BLOCK):
            next(kind)
        times[name].append((time.perf_counter() - began) / BLOCK)
    bare_step, step = (statistics.median(times[name][2:]) for name in ("bare", "watched"))
    state = MaskAdam(masked, 1e-2, config.alpha, 1.0, config.mask_steps).state()
    began = time.perf_counter()
    for _ in range(5):
        Checkpoint(folder, "masks", {}).save({"steps": 1, "rows": []}, state)
    save = (time.perf_counter() - began) / 5
    return bare_step, (step - bare_step) / bare_step + save / checkpoint_seconds()


def main() -> None:
    torch.set_num_threads(1)  # as runs are made
    with tempfile.TemporaryDirectory() as folder:
        for experiment in NETWORKS:
            step, share = measure(experiment, Path(folder))
            print(f"{experiment}: a step takes {1e3 * step:.2f} ms; progress and checkpoints add {100 * share:.2f}%")


if __name__ == "__main__":
    main()
