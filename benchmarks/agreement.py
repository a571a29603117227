"""Do plain, float32 and bfloat16 mask training find the same masks? ``python -m benchmarks.agreement --seeds 5``.

For each seed the network of one run is masked three times: by the plain step of this folder, and by the library in
float32 and in bfloat16. The proportions kept and shared go to ``results/agreement.json``, for the book's appendix.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.plain import PlainMaskedModel, plain_step
from modules_lib.analysis.compare import sharing
from modules_lib.datasets import arithmetic
from modules_lib.masking.masks import Masks
from modules_lib.support import rng as noise
from modules_lib.support.memory import keep_freed_memory
from reproduction.experiments import preset
from reproduction.experiments.addmul import AddMul
from reproduction.protocol.config import Config
from reproduction.runs.execute import execute
from reproduction.runs.provenance import commit, provenance_of_machine
from reproduction.runs.published import results_folder
from reproduction.runs.store import Run

OPERATIONS = ("add", "mul")
CONFIGS = {name: preset("addmul-fnn", mask_steps=3000, precision=name) for name in ("float32", "bfloat16")}


def plain_masks(config: Config, run: Run, stage: str) -> Masks:
    """The masks of a run's network for one operation, as the paper writes their training."""
    assert isinstance(config, AddMul)
    torch.manual_seed(noise.key("plain", run.seed, stage)[0] % 2**31)
    data = arithmetic.Arithmetic.of(stage)
    masked = PlainMaskedModel(run.load_weights(config.model()), config.samples, config.start)
    optimizer = torch.optim.Adam(masked.parameters(), lr=config.mask_lr)
    for step in tqdm(range(config.mask_steps), desc=f"plain, seed {run.seed}, {stage}"):
        batch = data.batch(config.batch, run.seed, stage, "data", step)
        plain_step(masked, optimizer, arithmetic.loss, *batch, config.alpha, config.clip)
    return masked.masks()


def measured(engine: str, seed: int, masks: dict[str, Masks]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for stage, other in (OPERATIONS, OPERATIONS[::-1]):
        for metric, value in (("kept", masks[stage].kept()), ("sharing", sharing(masks[stage], masks[other]))):
            rows.append({"engine": engine, "seed": seed, "stage": stage, "metric": metric, "value": round(value, 5)})
    return rows


def compare(seed: int) -> list[dict[str, object]]:
    """The three trainings of one seed, on one thread as all runs."""
    torch.set_num_threads(1)
    keep_freed_memory()
    [run] = execute(CONFIGS["float32"], [seed])
    rows = measured("plain", seed, {stage: plain_masks(CONFIGS["float32"], run, stage) for stage in OPERATIONS})
    for precision, config in CONFIGS.items():
        [run] = execute(config, [seed])
        rows += measured(precision, seed, {stage: run.masks(stage) for stage in OPERATIONS})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="seeds at once (%(default)s)")
    args = parser.parse_args()
    execute(list(CONFIGS.values()), args.seeds)
    with multiprocessing.get_context("spawn").Pool(args.processes) as pool:
        rows = [row for part in pool.map(compare, range(args.seeds), chunksize=1) for row in part]
    about = {**commit(), **provenance_of_machine(), "threads": 1}
    path = results_folder() / "agreement.json"
    path.write_text(json.dumps({"provenance": about, "rows": rows}, indent=1) + "\n", encoding="utf8")
    table = pd.DataFrame(rows).groupby(["metric", "stage", "engine"])["value"].agg(["mean", "std"])
    print(f"{table.to_string()}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
