"""Sentences of captions on seeds and error bars, counted in the results that a figure shows."""

from __future__ import annotations

from modules_lib.analysis.theme import count
from reproduction.figures.names import Results


def seeds(results: Results) -> str:
    """Count seeds in words: ``5 seeds``, ``3 to 5 seeds`` where results differ, or ``no seeds``."""
    counts = sorted({frame["seed"].nunique() for frame in results.values() if not frame.empty})
    if not counts:
        return "no seeds"
    return count(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {count(counts[-1], 'seed')}"


def _several(results: Results) -> bool:
    """Whether any of the results has more than one seed."""
    return any(frame["seed"].nunique() > 1 for frame in results.values())


def means(published: Results, run: Results, marks: str = "Bars", run_marks: str = "Diamonds") -> str:
    """Explain the marks of a figure and their error bars, in sentences."""
    said = []
    if any(not frame.empty for frame in published.values()):
        said.append(f"{marks}: published, {'mean over ' if _several(published) else ''}{seeds(published)}.")
    if any(not frame.empty for frame in run.values()):
        said.append(f"{run_marks}: this run, {seeds(run)}.")
    if _several(published) or _several(run):
        said.append("Error bars: unbiased standard deviation over seeds; one seed has none.")
    return " ".join(said)


def numbers(published: Results, run: Results) -> str:
    """Explain the numbers written in a figure."""
    both = {"published": published, "this run": run}
    there = {kind: results for kind, results in both.items() if any(not frame.empty for frame in results.values())}
    counts = ", ".join(f"{kind}: {seeds(results)}" for kind, results in there.items())
    return f"Numbers: mean and, where there are several seeds, unbiased standard deviation over them ({counts})."


def curves(published: Results, run: Results) -> str:
    """Say whose the lines of a figure without error bars are."""
    solid = f"Lines: published, {'mean over ' if _several(published) else ''}{seeds(published)}" if published else ""
    dotted = f"{'dotted' if published else 'Lines'}: this run, {seeds(run)}" if run else ""
    said = "; ".join(filter(None, (solid, dotted)))
    hover = "No error bars; hover for the unbiased standard deviation over seeds." if _several(published | run) else ""
    return f"{said}. {hover}".strip()


def of_one(marks: str, published: Results, run: Results) -> str:
    """Say whose the marks of a figure are that shows the run where there is one, else the published results."""
    shown = run or published
    means = "mean over " if _several(shown) else ""
    spread = " Deviations: unbiased, over seeds." if means else " One seed has no spread."
    return f"{marks}: {'this run' if run else 'published'}, {means}{seeds(shown)}.{spread}"
