"""Seconds that the chapters' controls for beta take to train masks again: ``python -m benchmarks.retraining``.

Each trains for its own number of steps, at laptop scale and one thread. The networks are trained for a few steps alone,
and kept nowhere: a step costs the same whatever the weights are, as long as none of them leaves mask training.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import torch

from modules_lib.support.memory import keep_freed_memory
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.notebook import retraining
from reproduction.notebook.retraining import Retraining
from reproduction.runs.make import make

# experiment -> its chapter's retraining, and a value of the option
CONTROLS: dict[str, tuple[Retraining, str]] = {
    "addmul-fnn": (retraining.ADDMUL, "fnn"),
    "addmul-lstm": (retraining.ADDMUL, "lstm"),
    "double-fnn": (retraining.DOUBLE_ADDITION, "fnn"),
    "double-lstm": (retraining.DOUBLE_ADDITION, "lstm"),
    "double-lstm-apart": (retraining.DOUBLE_ADDITION, "lstm-apart"),
    "scan": (retraining.SCAN, "length"),
    "cifar10": (retraining.CIFAR10, "airplane"),
    "permuted-half": (retraining.PERMUTED, "half"),
}
FEW = 3  # steps of the networks that are retrained


def seconds_of(experiment: str) -> tuple[int, float]:
    """Retrain the masks of a network once: the steps of all stages, and seconds with measuring."""
    what, value = CONTROLS[experiment]
    whole = preset(experiment, "laptop")
    counts = {name: FEW for name in ("weight_steps", "mask_steps") if hasattr(whole, name)}
    run = make(preset(experiment, "laptop", **counts), 0, Progress())
    config = what.config(whole, value, whole.beta or 1e-4, min(what.steps, what.steps_of(whole)))
    began = time.perf_counter()
    what.results(run, config, value, Progress())
    return what.steps_of(config) * len(what.stages(config, value)), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description=__doc__)
    parser.add_argument("--experiments", nargs="+", choices=CONTROLS, default=list(CONTROLS), help="all by default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{'experiment':<20}{'steps':>8}{'seconds':>10}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODULES_RUNS"] = folder
        for experiment in args.experiments:
            steps, seconds = seconds_of(experiment)
            print(f"{experiment:<20}{steps:>8,}{seconds:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
