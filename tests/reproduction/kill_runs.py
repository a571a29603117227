"""Smoke runs of each kind, in processes that are killed many times: ``python -m tests.reproduction.kill_runs 30``.

Where a kill is to come, a checkpoint is saved after every step, so that it may cost one step. Prints, as JSON, the
number of kills, the steps that were made, and the steps that the runs have. Runs go to MODULES_RUNS.
"""

import json
import os
import random
import signal
import sys
import time

import torch

from modules_lib.training.progress import Loop, Progress
from reproduction.experiments import EXPERIMENTS, preset
from reproduction.runs import store as runs
from reproduction.runs.make import make


def go_on(config, count, progress):
    """Go on with the run, here; writes a byte to the pipe ``count`` for every step."""
    after = Loop.after

    def counted(loop, *arguments):
        os.write(count, b".")
        after(loop, *arguments)

    Loop.after = counted
    torch.set_num_threads(1)
    make(config, 0, progress)


def attempt(config, lifetime):
    """A process that goes on with the run and is killed after this many seconds, if any; returns the steps it made."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            go_on(config, write, Progress() if lifetime is None else Progress(seconds=0.0))
        finally:
            os._exit(0)
    os.close(write)
    if lifetime is not None:
        time.sleep(lifetime)
        os.kill(process, signal.SIGKILL)
    steps = 0
    while block := os.read(read, 4096):
        steps += len(block)
    os.waitpid(process, 0)
    os.close(read)
    return steps


EACH = {type(entry.presets["smoke"]): name for name, entry in EXPERIMENTS.items()}
# An experiment of each kind; those that derive from another are trained and stored in its ways.
KINDS = {
    kind: name for kind, name in EACH.items() if not any(issubclass(kind, other) for other in EACH if other != kind)
}


def main(kills):
    moments, killed, made = random.Random(0), 0, 0
    # With which so few steps remove some weights: the masks of the stages then differ.
    masks = {
        name: {"mask_lr": 1.0} if "permuted" in name else {"start": 0.1, "mask_lr": 0.1, "mask_steps": 8}
        for name in KINDS.values()
    }
    configs = [preset(name, "smoke", weight_steps=12, **settings) for name, settings in masks.items()]
    for i, config in enumerate(configs):
        while killed < kills * (i + 1) // len(configs) and not runs.find(config, 0):
            made += attempt(config, moments.uniform(0.02, 0.3))
            killed += 1
        while not runs.find(config, 0):
            made += attempt(config, None)
    print(json.dumps({"kills": killed, "made": made, "wanted": sum(config.work() for config in configs)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
