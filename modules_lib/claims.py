"""The paper's claims as predicates on results.

A claim is a list of statements, each a margin measured in every seed: positive where the statement holds. A statement
holds if its mean margin over seeds exceeds one unbiased standard deviation. A claim is *reproduced* if all of its
statements hold, *not reproduced* if none does, *partly* otherwise, and *not run* without results. Thresholds come from
the paper's own words and numbers, and were committed before the published runs were made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from modules_lib.experiments import EXPERIMENTS, preset
from modules_lib.measures import NETWORKS, TASKS, by_layer, number, outcome
from modules_lib.results import published

OTHER = {"add": "mul", "mul": "add"}


@dataclass(frozen=True)
class Statement:
    """One testable part of a claim.

    Attributes:
        text: what is stated, with its threshold.
        values: the measured quantity, by seed.
        margins: by how much the statement holds in each seed; negative where it does not.
        unit: how to write the quantity: "%" (of proportions), "x" (a ratio) or "points".
    """

    text: str
    values: pd.Series
    margins: pd.Series
    unit: str = "%"

    @property
    def holds(self) -> bool:
        if not np.isfinite(self.margins).all():
            return False  # not available in a seed, as where a mask kept nothing
        deviation = self.margins.std(ddof=1) if len(self.margins) > 1 else 0.0
        return bool(self.margins.mean() - deviation > 0)

    @property
    def measured(self) -> str:
        """Mean and unbiased standard deviation over seeds."""
        return number(self.values, self.unit)


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        id: its number.
        claim: what the paper says, in our words.
        paper: where, and with which number.
        experiments: the experiments it needs.
        statements: results of these experiments -> what is tested; None while the experiment is not in the book.
    """

    id: int
    claim: str
    paper: str
    experiments: tuple[str, ...] = ()
    statements: Callable[[dict[str, pd.DataFrame]], list[Statement]] | None = None


@dataclass(frozen=True)
class Verdict:
    """What was measured for a claim."""

    claim: Claim
    verdict: str
    scale: str
    seeds: int = 0
    statements: list[Statement] = field(default_factory=list)

    @property
    def ours(self) -> str:
        return "; ".join(f"{s.text}: {s.measured}" for s in self.statements) or "-"

    @property
    def made_from(self) -> str:
        """E.g. ``5 seeds, laptop scale``; empty where nothing was run."""
        return f"{self.seeds} seed{'' if self.seeds == 1 else 's'}, {self.scale} scale" if self.seeds else ""

    def to_dict(self) -> dict[str, Any]:
        """What ``python -m modules_lib claims --json`` prints."""
        return {
            "id": self.claim.id,
            "claim": self.claim.claim,
            "paper": self.claim.paper,
            "ours": self.ours,
            "seeds": self.seeds,
            "scale": self.scale,
            "verdict": self.verdict,
        }


# -- the claims of section 3.1 -------------------------------------------------------------------------------------


def _sharing_at_the_ends(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network, name in NETWORKS.items():
        for task, called in TASKS.items():
            shares = by_layer(results[f"addmul-{network}"], task, "sharing").drop(columns="total")
            inner = shares.drop(columns=["input", "output"]).mean(axis=1, skipna=False)
            gap = shares[["input", "output"]].min(axis=1, skipna=False) - inner
            text = f"{name}, {called}: the smaller of input and output sharing minus the hidden layers' mean, above 0"
            statements.append(Statement(text, gap, gap, "points"))
    return statements


def _more_weights_for_multiplication(results: dict[str, pd.DataFrame]) -> list[Statement]:
    paper, factor = 3.8, 1.5
    statements = []
    for network, name in NETWORKS.items():
        kept = {task: by_layer(results[f"addmul-{network}"], task, "kept")["total"] for task in TASKS}
        ratio = kept["mul"] / kept["add"].where(kept["add"] > 0)
        statements.append(
            Statement(f"{name}, direction: multiplication keeps more weights, ratio above 1", ratio, ratio - 1, "x")
        )
        near = np.log(factor) - np.log((ratio / paper).where(ratio > 0)).abs()
        text = f"{name}, size: the ratio is within a factor of {factor} of {paper}"
        statements.append(Statement(text, ratio, near, "x"))
    return statements


def _fnn_performs_the_masks_operation(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for mask, asked in OTHER.items():
        done = outcome(results["addmul-fnn"], mask, asked, mask)
        text = f"{_test(mask, asked)}: the result is that of {TASKS[mask]} in most cases, above 50%"
        statements.append(Statement(text, done, done - 0.5))
    return statements


def _lstm_is_mostly_invalid(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for mask, asked in OTHER.items():
        invalid = outcome(results["addmul-lstm"], mask, asked, "none")
        text = f"{_test(mask, asked)}, direction: valid for neither operation in most cases, above 50%"
        statements.append(Statement(text, invalid, invalid - 0.5))
        text = f"{_test(mask, asked)}, size: in about 70%, within 15 points"
        statements.append(Statement(text, invalid, 0.15 - (invalid - 0.7).abs()))
    return statements


def _test(mask: str, asked: str) -> str:
    return f"mask of {TASKS[mask]}, asked for {TASKS[asked]}"


def _inverted_masks_fail(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network, name in NETWORKS.items():
        for mask, other in OTHER.items():
            accuracy = outcome(results[f"addmul-{network}"], f"not {mask}", other)
            text = f"{name}: accuracy on {TASKS[other]} without the weights of {TASKS[mask]}, below 50%"
            statements.append(Statement(text, accuracy, 0.5 - accuracy))
    return statements


def _full_mask_keeps_accuracy(results: dict[str, pd.DataFrame]) -> list[Statement]:
    statements = []
    for network, name in NETWORKS.items():
        for task, called in TASKS.items():
            frame = results[f"addmul-{network}"]
            lost = outcome(frame, "unmasked", task) - outcome(frame, "full", task)
            text = f"{name}, {called}: accuracy lost under the full-task mask, at most 5 points"
            statements.append(Statement(text, lost, 0.05 - lost, "points"))
    return statements


BOTH = ("addmul-fnn", "addmul-lstm")

CLAIMS = [
    Claim(1, "More sharing in input and output layers than in hidden layers, FNN and LSTM", "Fig. 1", BOTH,
          _sharing_at_the_ends),
    Claim(2, "Multiplication needs about 3.8 times the weights of addition", "Fig. 11", BOTH,
          _more_weights_for_multiplication),
    Claim(3, "With one operation's mask, the FNN ignores the operation asked for and performs the mask's", "Fig. 2",
          ("addmul-fnn",), _fnn_performs_the_masks_operation),
    Claim(4, "In the same test the LSTM gives results valid for neither operation in about 70% of cases", "Fig. 10",
          ("addmul-lstm",), _lstm_is_mostly_invalid),
    Claim(5, "Inverted masks do not perform the other operation: limited separability", "Fig. 8", BOTH,
          _inverted_masks_fail),
    Claim(6, "Double addition: hardly any sharing, none in first and last layers; one pair's inverted mask leaves the "
             "other pair almost intact", "Figs. 3, 12"),
    Claim(7, "No difference between the two ways of showing two pairs to an LSTM", "Fig. 13"),
    Claim(8, "SCAN: masks of the length and add-jump splits lose much on their test sets, add-turn-left little",
          "Fig. 4a"),
    Claim(9, "SCAN, add-jump: most output weights of JUMP are removed", "Fig. 4b"),
    Claim(10, "CIFAR-10: few weights are removed with a class, yet its true-positive rate falls, others' hardly",
          "Figs. 5, 16, 18: by 40 to 60 points"),
    Claim(11, "CIFAR-10: airplane is then taken for bird and ship; control masks keep the confusion matrix",
          "Figs. 17, 18"),
    Claim(12, "Mask probabilities concentrate at 0 and 1, so thresholding is safe", "Fig. 6"),
    Claim(13, "The choice of beta is not critical and transfers between network sizes", "Fig. 7"),
    Claim(14, "Sharing changes with capacity; small networks share more", "Fig. 9"),
    Claim(15, "Permuted MNIST: hardly any sharing while capacity is free; favouring old weights raises it, far from "
              "100%", "Figs. 14, 15"),
    Claim(16, "Masks trained on the full task lose little accuracy: the check of every experiment", "Section 2", BOTH,
          _full_mask_keeps_accuracy),
]  # fmt: skip


def judge(claim: Claim, results: dict[str, pd.DataFrame], scale: str) -> Verdict:
    """A claim's verdict from each experiment's results (as from :func:`results.published`), by seeds common to all."""
    needed = [results.get(experiment, pd.DataFrame(columns=["seed"])) for experiment in claim.experiments]
    seeds = set.intersection(*(set(frame["seed"]) for frame in needed)) if needed else set()
    if claim.statements is None or not seeds:
        return Verdict(claim, "not run", "-")
    common = {name: frame[frame["seed"].isin(seeds)] for name, frame in results.items()}
    statements = claim.statements(common)
    holding = sum(statement.holds for statement in statements)
    verdict = {0: "not reproduced", len(statements): "reproduced"}.get(holding, "partly")
    return Verdict(claim, verdict, scale, len(seeds), statements)


def verdicts(scale: str = "laptop", results: dict[str, pd.DataFrame] | None = None) -> list[Verdict]:
    """Every claim's verdict, from results by experiment, by default the published ones of a scale."""
    if results is None:
        results = {name: published(preset(name, scale)) for name in EXPERIMENTS}
    return [judge(claim, results, scale) for claim in CLAIMS]


def report(verdicts: list[Verdict], details: bool = True) -> str:
    """The verdicts as plain text, one line each, with every statement below if details are wanted."""
    lines = []
    for verdict in verdicts:
        source = f"{verdict.claim.paper}; {verdict.made_from}" if verdict.made_from else verdict.claim.paper
        lines.append(f"{verdict.claim.id:>2}  {verdict.verdict:<15} {verdict.claim.claim} ({source})")
        if details:
            lines += [f"      {'yes' if s.holds else 'no':<4}{s.text}: {s.measured}" for s in verdict.statements]
    return "\n".join(lines)
