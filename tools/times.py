"""Where the time of a build went: the table at its end."""

import time

from tools.chapters import all_chapters, read
from tools.render import HTML, executed

FEW = 1.0  # seconds that are worth a word


def times_table(since: float) -> str:
    """Write down how long the runs, chapters and pages took that were made since then.

    Args:
        since: seconds since 1970.
    """
    parts = {"runs": _runs(since), "chapters": _chapters(since), "pages": _pages(since)}
    lines = ["Where the time went, in seconds (two runs or chapters at a time on two cores):"]
    for part, seconds in parts.items():
        longest = sorted(seconds.items(), key=lambda item: -item[1])
        each = ", ".join(f"{name} {taken:.0f}" for name, taken in longest if taken >= FEW and name)
        lines.append(f"  {part:<9}{sum(seconds.values()):6.0f}  {each}".rstrip())
    minutes, rest = divmod(round(time.time() - since), 60)
    return "\n".join([*lines, f"  by the clock: {minutes} min {rest} s"])


def _runs(since: float) -> dict[str, float]:
    """Experiment -> how long its runs took, of those that were finished since then."""
    from reproduction.runs.store import runs_folder, stored  # takes seconds, since torch comes with it

    taken: dict[str, float] = {}
    for run in stored(runs_folder()):
        if (run.folder / "provenance.json").stat().st_mtime >= since:
            taken[run.experiment] = taken.get(run.experiment, 0.0) + run.provenance()["seconds"]
    return taken


def _chapters(since: float) -> dict[str, float]:
    """Chapter -> how long its cells took, of those that were executed since then."""
    copies = {name: executed(name) for name in all_chapters() if executed(name).exists()}
    made = {name: read(path).metadata.papermill for name, path in copies.items() if path.stat().st_mtime >= since}
    return {name.removeprefix("book/"): about.get("duration") or 0.0 for name, about in made.items()}


def _pages(since: float) -> dict[str, float]:
    """How long the rendering of the pages took, if it was since then."""
    taken = HTML.parent / "rendering.seconds"
    return {"": float(taken.read_text())} if taken.exists() and taken.stat().st_mtime >= since else {}
