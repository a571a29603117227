"""Are the effects of the published masks due to their weights, or to any so many? ``python -m benchmarks.controls``.

For every published run of addition and multiplication and of CIFAR-10 at laptop scale, whose weights and masks are
taken from the run store (or trained), what the masks do is set beside random masks with as many weights in each layer.
The numbers go to ``results/controls.json``, for the chapters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing

import pandas as pd
import torch

from reproduction.experiments import published_preset
from reproduction.experiments.cifar import LeaveOneOut
from reproduction.experiments.random_controls import DRAWS, of_classes, of_operations
from reproduction.protocol.config import Config
from reproduction.runs.execute import execute
from reproduction.runs.provenance import commit, provenance_of_machine
from reproduction.runs.published import published, results_folder

CONTROLLED = ("addmul-fnn", "addmul-lstm", "cifar10")


def controls(config: Config, seed: int, draws: int) -> list[dict[str, object]]:
    """The rows of one run, on one thread as all runs."""
    torch.set_num_threads(1)
    [run] = execute(config, [seed])
    model = run.load_weights(config.model()).eval()
    masks = {stage: run.masks(stage) for stage in config.stages}
    if isinstance(config, LeaveOneOut):
        rows = of_classes(model, masks, config.removed, config.test_images(), draws)
    else:
        rows = of_operations(model, masks, draws)
    return [{"experiment": config.experiment, "seed": seed, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controls", description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="random masks for each number (%(default)s)")
    parser.add_argument(
        "--experiments", nargs="+", choices=CONTROLLED, default=CONTROLLED, help="others keep their rows"
    )
    parser.add_argument("--processes", type=int, default=2, help="runs at once (%(default)s)")
    args = parser.parse_args()
    configs = {name: published_preset(name) for name in args.experiments}
    jobs = [
        (config, seed, args.draws) for config in configs.values() for seed in sorted(set(published(config)["seed"]))
    ]
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        rows = [row for part in pool.starmap(controls, jobs, chunksize=1) for row in part]
    path = results_folder() / "controls.json"
    before = json.loads(path.read_text(encoding="utf8"))
    about = {**commit(), **provenance_of_machine(), "threads": 1, "draws": args.draws}
    provenance = before["provenance"] | dict.fromkeys(configs, about)
    every = [row for row in before["rows"] if row["experiment"] not in configs] + rows
    path.write_text(json.dumps({"provenance": provenance, "rows": every}, indent=1) + "\n", encoding="utf8")
    table = pd.DataFrame(rows).groupby(["experiment", "what", "task"])[["observed", "chance", "p"]].mean()
    print(f"{table.to_string()}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
