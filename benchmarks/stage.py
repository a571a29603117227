"""What a whole stage of mask training costs, against ordinary training: ``python -m benchmarks.stage``.

A step gets cheaper as weights die (:mod:`modules_lib.masking.dead_weights`), so the time of one step says little about
a stage. The network is that of a finished run, where there is one, or is trained first: by default the paper's FNN on
addition and multiplication. A stage is trained, with an ordinary step of the unmasked network, and a plain masked one,
timed now and then between its own.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.ordinary import ordinary_step, timed
from benchmarks.plain import PlainMaskedModel, plain_step
from modules_lib.datasets import arithmetic
from modules_lib.support.memory import keep_freed_memory
from modules_lib.support.precision import product_type
from modules_lib.training.loops import Loss
from modules_lib.training.progress import Progress
from reproduction.experiments import preset
from reproduction.experiments.addmul import AddMul
from reproduction.experiments.cifar import LeaveOneOut
from reproduction.protocol.frozen_config import Data
from reproduction.protocol.scales import SCALES
from reproduction.runs import store as runs
from reproduction.runs.provenance import provenance_of_machine
from reproduction.runs.published import results_folder

LATEST = Path(__file__).resolve().parent / "latest-stage.json"
NETWORKS = ("addmul-fnn", "addmul-lstm", "capacity-tiny", "capacity-small", "capacity-medium", "cifar10")
SEED = 0
LOOKS, LOOKED_AT = 20, 5  # rows that are written; unmasked and plain steps for each


def task(config: AddMul | LeaveOneOut) -> tuple[str, Data, Loss]:
    """The stage that is trained, its data, and its loss."""
    if isinstance(config, AddMul):
        return "add", config.data("add"), arithmetic.loss
    return "full", config.data("train"), F.cross_entropy


def trained(config: AddMul | LeaveOneOut) -> nn.Module:
    """The network of a finished run; else one that is trained now, and not kept."""
    run = runs.find(config, SEED)
    if run is not None:
        return run.load_weights(config.model())
    print(f"There is no finished run of {config.experiment}: its network is trained first.", flush=True)
    return config.train(SEED, Progress())[0]


def stage_times(config: AddMul | LeaveOneOut, model: nn.Module) -> list[dict[str, float]]:
    """For each of twenty parts of a stage: its last step, the mean milliseconds of masked, unmasked and plain steps,
    and the proportion of weights that still take part at its end. Compiling is not counted the first time."""
    stage, data, loss = task(config)
    training = config.mask_training(SEED)
    masked = training.masked(model, stage)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return data.batch(config.batch, SEED, stage, "data", step)

    own = ordinary_step(copy.deepcopy(model), product_type(config.precision), lambda: batch(0), loss)
    peer = PlainMaskedModel(copy.deepcopy(model), config.samples)
    optimizer = torch.optim.Adam(peer.parameters(), lr=config.mask_lr)
    plain = partial(plain_step, peer, optimizer, loss, *batch(0), config.alpha)
    steps = training.of(masked, batch, loss, config.alpha)
    weights, made, rows = len(masked.logits), 1, []
    own()
    plain()
    next(steps)  # compiles
    for last in sorted({config.mask_steps * part // LOOKS for part in range(1, LOOKS + 1)} - {0, 1}):
        times = [timed(lambda: next(steps)) for _ in range(made, last)]
        made, others = last, [[timed(step) for _ in range(LOOKED_AT)] for step in (own, plain)]
        masked_ms, unmasked_ms, plain_ms = map(statistics.mean, (times, *others))
        part = {"steps": last, "masked_ms": masked_ms, "unmasked_ms": unmasked_ms, "plain_ms": plain_ms}
        rows.append({key: round(value, 3) for key, value in part.items()} | {"left": len(masked.logits) / weights})
        print("".join(f"{value:>14.3f}" for value in rows[-1].values()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage", description=__doc__)
    parser.add_argument("--experiment", choices=NETWORKS, default="addmul-fnn", help="of which network (%(default)s)")
    parser.add_argument("--scale", choices=SCALES, default="paper", help="%(choices)s (%(default)s)")
    parser.add_argument("--publish", action="store_true", help="write to results/, for the book to show")
    args = parser.parse_args()
    config = preset(args.experiment, args.scale)
    assert isinstance(config, AddMul | LeaveOneOut)  # as are all of NETWORKS
    model = trained(config)
    keep_freed_memory()
    print("".join(f"{title:>14}" for title in ("steps", "masked [ms]", "unmasked [ms]", "plain [ms]", "left")))
    rows = stage_times(config, model)
    kinds = ("masked", "unmasked", "plain")
    masked, unmasked, plain = (statistics.mean(row[f"{kind}_ms"] for row in rows) for kind in kinds)
    about = {"experiment": args.experiment, "scale": args.scale, "stage": task(config)[0]}
    target = results_folder() / f"stage-{args.experiment}-{args.scale}.json" if args.publish else LATEST
    target.write_text(json.dumps({"machine": provenance_of_machine(), **about, "rows": rows}, indent=1) + "\n")
    print(f"\na masked step is {masked / unmasked:.2f} times an unmasked one, over the stage; written to {target}")
    seconds = [config.mask_steps * one / 1e3 for one in (plain, masked)]
    print(f"the stage: plain {seconds[0]:.0f} s, ours {seconds[1]:.0f} s, ratio {plain / masked:.1f}")


if __name__ == "__main__":
    main()
