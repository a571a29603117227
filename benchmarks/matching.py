"""Is a module the same one in networks of other seeds, once their units are matched? ``python -m benchmarks.matching``.

For every two published runs of ``again-addmul-fnn`` and ``again-double-fnn`` at laptop scale, whose weights and masks
are taken from the run store (or trained), each hidden unit of one network is matched with one of the other, by the
correlation of their states. The agreement of the masks before and after goes to ``results/matching.json``.
"""

from __future__ import annotations

import argparse
import json
from itertools import combinations
from typing import cast

import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from modules_lib.analysis.chance import sharing_test, stability
from modules_lib.analysis.compare import iou
from modules_lib.masking.masks import Masks
from modules_lib.models.paper_networks import FNN
from reproduction.experiments import published_preset
from reproduction.experiments.again import Again, again
from reproduction.protocol.config import Config
from reproduction.runs.execute import execute
from reproduction.runs.provenance import commit, provenance_of_machine
from reproduction.runs.published import published, results_folder

MATCHED = ("again-addmul-fnn", "again-double-fnn")
QUESTIONS = 10_000  # on which states are compared


@torch.no_grad()
def states(model: FNN, inputs: Tensor) -> list[Tensor]:
    """Compute each hidden layer's states, [questions, units], over inputs [questions, ..., inputs]."""
    x, found = inputs, []
    for layer in model.layers[:-1]:
        x = torch.relu(layer(x))
        found.append(x.flatten(0, -2))
    return found


def matched_units(first: list[Tensor], second: list[Tensor]) -> list[Tensor]:
    """Find, for each unit of the first network's layers, the second's that goes with it: int64 [units] a layer.

    The sum of the correlations of states that go together is the largest there is (linear assignment).
    """
    found = []
    for one, other in zip(first, second, strict=True):
        a, b = ((part - part.mean(0)) / part.std(0).clamp(min=1e-6) for part in (one.double(), other.double()))
        _, order = linear_sum_assignment((a.T @ b / len(a)).numpy(), maximize=True)
        found.append(torch.from_numpy(order))
    return found


def reordered(masks: Masks, units: list[Tensor]) -> Masks:
    """Put the rows and columns of an FNN's masks in the order of matched units; inputs and outputs stay."""
    names, tensors = list(masks), dict(masks)
    for i, order in enumerate(units):
        tensors[names[i]] = tensors[names[i]][order]
        tensors[names[i + 1]] = tensors[names[i + 1]][:, order]
    return Masks(tensors)


def by_units(first: Masks, second: Masks) -> float:
    """Compute the mean agreement of masks at random that keep as many weights of every unit of the first."""
    both = sharing_test(first, second, draws=200, keep="units").expected * first.count()
    return both / (first.count() + second.count() - both)


def matching(config: Config, seeds: list[int]) -> list[dict[str, object]]:
    """Compare every two of these runs' networks: a row for each subtask."""
    assert isinstance(config, Again)
    runs = execute(config, seeds)
    inputs, _ = config.data("full").batch(QUESTIONS, "matching")
    of = {run.seed: states(cast(FNN, run.load_weights(config.model())), inputs) for run in runs}
    rows: list[dict[str, object]] = []
    for one, other in combinations(runs, 2):
        units = matched_units(of[one.seed], of[other.seed])
        for task in config.SUBTASKS:
            first, second = one.masks(task), other.masks(task)
            moved = reordered(second, units)
            numbers = {
                "before": iou(first, second),
                "matched": iou(first, moved),
                "chance": float(stability([first, second])["chance"].iloc[-1]),
                "chance by units": by_units(first, moved),
                "again": iou(first, one.masks(again(task))),
            }
            about = {"experiment": config.experiment, "seeds": [one.seed, other.seed], "task": task}
            rows.append(about | {name: round(value, 5) for name, value in numbers.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matching", description=__doc__)
    parser.parse_args()
    configs = {name: published_preset(name) for name in MATCHED}
    rows = [
        row for config in configs.values() for row in matching(config, sorted(set(map(int, published(config)["seed"]))))
    ]
    path, about = results_folder() / "matching.json", {**commit(), **provenance_of_machine()}
    path.write_text(json.dumps({"provenance": about, "rows": rows}, indent=1) + "\n", encoding="utf8")
    means = pd.DataFrame(rows).drop(columns="seeds").groupby(["experiment", "task"]).mean()
    print(f"{means.to_string()}\n\nwritten to {path}")


if __name__ == "__main__":
    main()
