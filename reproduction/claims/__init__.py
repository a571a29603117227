"""The paper's claims, and some of our own beside them, as predicates on results.

A claim is a list of statements, each a margin measured in every seed: positive where the statement holds. A statement
holds, or fails, if the mean margin's one-sided 95% bound lies on that side of zero; else it is undecided. A claim is
*reproduced* if all of its statements hold and *partly* if some do. Where none holds it is *not reproduced* if
one fails, else *undecided*. One run has no spread: a claim of one seed is a *single run*, which is shown and decides
nothing. Thresholds come from the paper's own words and numbers; where it gives no number they are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from modules_lib.analysis.theme import count
from reproduction.claims import addmul, again, alpha, cifar, double, permuted, reuse, scan
from reproduction.claims.statement import FAILS, HOLDS, SINGLE, Statement
from reproduction.experiments import EXPERIMENTS, published_preset
from reproduction.runs.published import published

VERDICTS = ("reproduced", "partly", "undecided", "not reproduced", "single run", "not run")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        id: its number.
        claim: the paper's claim, in our words.
        paper: where, and with which number.
        statements: results by experiment -> the statements to test.
        each: whether it is about each experiment by itself: those without results are then left out.
        instead: experiment -> the one that it is judged by where the first has no results.
    """

    id: int
    claim: str
    paper: str
    statements: Callable[[dict[str, pd.DataFrame]], list[Statement]]
    each: bool = False
    instead: dict[str, str] = field(default_factory=dict)

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments it needs: those whose entries name it."""
        return tuple(name for name, entry in EXPERIMENTS.items() if self.id in entry.claims)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, and its measurements.

    Attributes:
        claim, verdict, statements: the claim, its verdict in a word, and the statements tested.
        scale: of the results.
        runs: experiment -> the seeds that were used.
    """

    claim: Claim
    verdict: str
    scale: str
    statements: list[Statement] = field(default_factory=list)
    runs: dict[str, list[int]] = field(default_factory=dict)

    @property
    def seeds(self) -> int:
        """The number of seeds, of the experiment that has fewest."""
        return min(map(len, self.runs.values()), default=0)

    @property
    def decided(self) -> bool:
        """Tell whether every statement holds, or is contradicted by an interval that excludes it."""
        return bool(self.statements) and all(s.outcome in (HOLDS, FAILS) for s in self.statements)

    @property
    def weakest(self) -> Statement:
        """The statement that is least certain: of a reproduced claim, even this one's lower bound is above zero."""
        return min(self.statements, key=lambda statement: statement.least)

    @property
    def ours(self) -> str:
        return "; ".join(f"{s.text}: {s.measured}" for s in self.statements) or "-"

    @property
    def made_from(self) -> str:
        """E.g. ``5 seeds, laptop scale``; empty where nothing was run."""
        return f"{self.seeds} seed{'' if self.seeds == 1 else 's'}, {self.scale} scale" if self.seeds else ""

    @property
    def holding(self) -> str:
        """E.g. ``4 of 6 statements hold, 1 undecided, 5 seeds, laptop scale``."""
        if not self.statements:
            return "not all of its experiments have results at this scale"
        outcomes = [statement.outcome for statement in self.statements]
        if set(outcomes) <= {SINGLE, FAILS} and SINGLE in outcomes:
            margins = sum(statement.margins.iloc[0] > 0 for statement in self.statements)
            return f"{margins} of {len(outcomes)} statements are met, {self.made_from}"
        counted = {word: outcomes.count(word) for word in ("undecided", SINGLE)}
        others = "".join(f", {number} {word}" for word, number in counted.items() if number)
        return f"{outcomes.count(HOLDS)} of {len(outcomes)} statements hold{others}, {self.made_from}"

    def to_dict(self) -> dict[str, Any]:
        """Write the verdict as ``python -m reproduction claims --json`` prints it."""
        return {
            "id": self.claim.id,
            "claim": self.claim.claim,
            "paper": self.claim.paper,
            "ours": self.ours,
            "seeds": self.seeds,
            "n": self.seeds,
            "statements": [statement.to_dict() for statement in self.statements],
            "scale": self.scale,
            "verdict": self.verdict,
        }


CLAIMS = [
    Claim(1, "More sharing in input and output layers than in hidden layers, FNN and LSTM", "Fig. 1",
          addmul.sharing_at_the_ends),
    Claim(2, "Multiplication needs about 3.8 times the weights of addition", "Fig. 11",
          addmul.more_weights_for_multiplication),
    Claim(3, "With one operation's mask, the FNN ignores the operation asked for and performs the mask's", "Fig. 2",
          addmul.fnn_performs_the_masks_operation),
    Claim(4, "In the same test the LSTM gives results valid for neither operation in about 70% of cases", "Fig. 10",
          addmul.lstm_is_mostly_invalid),
    Claim(5, "Inverted masks do not perform the other operation: limited separability", "Fig. 8",
          addmul.inverted_masks_fail),
    Claim(6, "Double addition: hardly any sharing; one pair's inverted mask leaves the other pair almost intact",
          "Figs. 3, 12", double.pairs_share_little),
    Claim(7, "No difference between the two ways of showing two pairs to an LSTM", "Fig. 13",
          double.lstm_variants_agree),
    Claim(8, "SCAN: masks of the length and add-jump splits lose much on their test sets, add-turn-left little",
          "Fig. 4a", scan.some_splits_lose_much),
    Claim(9, "SCAN, add-jump: most output weights of JUMP are removed", "Fig. 4b",
          scan.jump_loses_its_output_weights),
    Claim(10, "CIFAR-10: few weights are removed with a class, yet its true-positive rate falls, others' hardly",
          "Figs. 5, 16, 18: by 40 to 60 points", cifar.few_weights_many_errors),
    Claim(11, "CIFAR-10: airplane is then taken for bird and ship; cat and dog, truck and automobile are tied; control "
              "masks keep the confusion matrix", "Figs. 17, 18", cifar.classes_are_taken_for_alike),
    Claim(12, "Mask probabilities concentrate at 0 and 1", "Fig. 6",
          alpha.probabilities_are_at_the_ends),
    Claim(13, "The choice of beta is not critical and transfers between network sizes", "Fig. 7",
          alpha.beta_is_not_critical),
    Claim(14, "Sharing changes with capacity; small networks share more", "Fig. 9",
          # At the paper's scale the largest network is that of addition and multiplication, whose training is the same.
          alpha.sharing_falls_with_capacity, instead={"sweep-large": "addmul-fnn"}),
    Claim(15, "Permuted MNIST: hardly any sharing while capacity is free; the last layer fills first", "Fig. 14",
          permuted.what_is_there_is_hardly_used_again),
    Claim(16, "Masks trained on the full task lose little accuracy: the check of every experiment", "Section 2",
          alpha.full_mask_keeps_accuracy, each=True),
    Claim(17, "Permuted MNIST: favouring old weights raises sharing, far from 100%, and in the first layer, too",
          "Fig. 15", permuted.favouring_raises_sharing),
    Claim(18, "Permuted MNIST: weights are shared once capacity is full, above all in the last layer", "Fig. 14",
          permuted.sharing_begins_when_capacity_is_full),
    Claim(19, "CIFAR-10: without the weights of cats, dogs are recognised better, and the other way round", "Fig. 18",
          cifar.without_one_the_other_is_better),
    Claim(20, "Thresholding is safe: masks drawn at random do what thresholded ones do", "Section 2, Fig. 6",
          alpha.thresholding_is_safe),
    Claim(21, "P2: networks do not reuse a function where they could, in their hidden layers", "Section 3.2",
          double.functions_are_not_reused),
    Claim(22, "Ours: sharing shows reuse where inner weights can or must serve both pairs", "beside P2",
          reuse.reuse_is_seen),
    Claim(23, "Ours: a reused module carries over to the other pair, and one that is not reused does not", "beside P2",
          reuse.modules_carry_over),
    Claim(24, "Ours: sharing follows the degree to which the two additions are computed alike", "beside P2",
          reuse.sharing_follows_the_dose),
    Claim(25, "Ours: a module is one thing: masks of one subtask, found twice, agree more than those of two subtasks",
          "beside section 3", again.masks_found_twice_agree),
    Claim(26, "Ours: at a higher price a module shrinks, and hardly moves", "beside Fig. 7",
          again.smaller_modules_lie_within),
    Claim(27, "Ours: inverted masks fail for want of the layers that both operations read and write", "beside Fig. 8",
          again.inverses_lack_their_ends),
    Claim(28, "Ours: claim 10 holds in other CNNs, too: without dropout, and in a ResNet", "beside Figs. 5, 16, 18",
          cifar.other_networks_are_alike),
]  # fmt: skip


def judge(claim: Claim, results: dict[str, pd.DataFrame], scale: str) -> Verdict:
    """Judge a claim by each experiment's results (tables as of :func:`published`), by seeds common to all."""
    chosen = [name if _there(name, results) else claim.instead.get(name, name) for name in claim.experiments]
    if claim.each:  # each by its own seeds
        used = {name: results[name] for name in chosen if _there(name, results)}
    else:
        seeds = _common_seeds(results.get(name) for name in chosen)
        used = {name: results[name][results[name]["seed"].isin(seeds)] for name in chosen if seeds}
    if not used:
        return Verdict(claim, "not run", "-")
    statements = claim.statements(used)
    if not statements:  # results from before this was measured
        return Verdict(claim, "not run", "-")
    runs = {name: sorted(frame["seed"].unique().tolist()) for name, frame in used.items()}
    seeds_of = min(len(seeds) for seeds in runs.values())
    verdict = _verdict([s.outcome for s in statements], single=seeds_of < 2 and not claim.each)
    return Verdict(claim, verdict, scale, statements, runs)


def _verdict(outcomes: list[str], single: bool) -> str:
    """The verdict on a claim whose statements have these outcomes."""
    if single or set(outcomes) == {SINGLE}:
        return SINGLE
    holding = outcomes.count(HOLDS)
    if holding == len(outcomes):
        return "reproduced"
    if holding:
        return "partly"
    return "not reproduced" if FAILS in outcomes else "undecided"


def _there(name: str, results: dict[str, pd.DataFrame]) -> bool:
    """Whether an experiment has results."""
    return name in results and not results[name].empty


def _common_seeds(frames: Iterable[pd.DataFrame | None]) -> set[int]:
    """The seeds that all of them have; none, if one is missing or there are none."""
    seeds = [set() if frame is None else set(frame["seed"]) for frame in frames]
    return set.intersection(*seeds) if seeds else set()


def verdicts(scale: str = "laptop", *numbers: int, results: dict[str, pd.DataFrame] | None = None) -> list[Verdict]:
    """Judge claims by results, in the order of their numbers.

    Args:
        scale: of the results.
        numbers: of the claims; none for all.
        results: experiment -> results; the published ones of the scale where they are not given.
    """
    chosen = [claim for claim in CLAIMS if claim.id in numbers or not numbers]
    if results is None:
        needed = {name for claim in chosen for name in (*claim.experiments, *claim.instead.values())}
        results = {name: published(published_preset(name, scale)) for name in EXPERIMENTS if name in needed}
    return [judge(claim, results, scale) for claim in chosen]


def report(verdicts: list[Verdict], details: bool = True) -> str:
    """Write the verdicts as plain text, one line each, with every statement below if details are wanted."""
    lines = []
    for verdict in verdicts:
        source = f"{verdict.claim.paper}; {verdict.made_from}" if verdict.made_from else verdict.claim.paper
        lines.append(f"{verdict.claim.id:>2}  {verdict.verdict:<15} {verdict.claim.claim} ({source})")
        if details:
            lines += [f"      {s.mark:<4}{s.text}: {s.measured}" for s in verdict.statements]
    return "\n".join(lines)


def summary(verdicts: list[Verdict]) -> str:
    """Count the verdicts in a sentence, and the claims whose statements all hold or are excluded by their intervals."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    decided = sum(verdict.decided for verdict in verdicts)
    words = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
    return f"{count(len(verdicts), 'claim')}: {words}. In {decided}, 95% intervals decide every statement."
