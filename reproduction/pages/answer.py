"""The answer in short: how many claims are reproduced at each scale, and from how many runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from modules_lib.analysis.theme import count
from reproduction.claims import VERDICTS, Verdict, verdicts
from reproduction.claims.statement import SINGLE
from reproduction.notebook.views import LAPTOP, PAPER, SEEDS

# A single run's verdict by the statements that it meets.
IN_FULL, IN_PART, NOT_MET = (f"{how} by one run" for how in ("met in full", "met in part", "not met"))
KINDS = tuple(
    kind for verdict in VERDICTS for kind in ((IN_FULL, IN_PART, NOT_MET) if verdict == SINGLE else (verdict,))
)
ALWAYS = ("reproduced", "partly", "not reproduced")  # told even of no claim

Judged = Mapping[str, Sequence[Verdict]]  # view -> the verdicts on all claims


def judged() -> Judged:
    """Judge all claims by published results: at the paper's sizes first, then at laptop sizes."""
    return {PAPER: verdicts("paper"), LAPTOP: verdicts("laptop")}


def first_view(judged: Judged) -> str:
    """Choose the view to open with: the paper's sizes once a claim there rests on as many seeds as chapters ask for."""
    return PAPER if max((verdict.seeds for verdict in judged[PAPER]), default=0) >= SEEDS else LAPTOP


def kind(verdict: Verdict) -> str:
    """Name a verdict as the answer counts it: a single run's by whether it meets all statements, some or none."""
    if verdict.verdict != SINGLE:
        return verdict.verdict
    met = [bool(statement.margins.mean() > 0) for statement in verdict.statements]
    return IN_FULL if all(met) else IN_PART if any(met) else NOT_MET


def found(verdicts: Sequence[Verdict]) -> str:
    """Count verdicts and runs, e.g. ``8 of 24 claims reproduced, 16 partly (80 runs, 3 to 10 a claim).``"""
    counts = Counter(map(kind, verdicts))
    first, *others = (word for word in KINDS if counts[word])
    words = [
        f"{counts[first]} of {count(len(verdicts), 'claim')} {first}",
        *(f"{counts[word]} {word}" for word in others),
    ]
    return f"{', '.join(words)} ({_runs(verdicts)})."


def answer_table(judged: Judged) -> str:
    """Write a Markdown table of the verdicts, with a column a scale; its last row counts the runs."""
    counts = [Counter(map(kind, verdicts)) for verdicts in judged.values()]
    rows = [
        (word, *(str(counted[word]) for counted in counts))
        for word in KINDS
        if word in ALWAYS or any(counted[word] for counted in counts)
    ]
    total = count(max(map(len, judged.values())), "claim")
    lines = [(total, *judged), ("---", *["---:"] * len(judged)), *rows, ("runs", *map(_runs, judged.values()))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _runs(verdicts: Sequence[Verdict]) -> str:
    """E.g. ``80 runs, 3 to 10 a claim``: those that are judged, each counted once."""
    used = {(name, seed) for verdict in verdicts for name, seeds in verdict.runs.items() for seed in seeds}
    seeds = sorted({verdict.seeds for verdict in verdicts if verdict.runs})
    each = f", {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} a claim" if seeds else ""
    return count(len(used), "run") + each
