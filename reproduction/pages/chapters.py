"""The chapters of the book: their titles, and how long their runs take."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from IPython.display import Markdown

from modules_lib.analysis.theme import count
from modules_lib.support.folders import ROOT
from reproduction.experiments import CHAPTERS
from reproduction.runs.listing import Time, run_time

END_OF_SENTENCE = re.compile(r"(?<=[.?!:])\s")


@dataclass(frozen=True)
class Chapter:
    """A page of the book.

    Attributes:
        name: of its file, without the suffix.
        title: its heading.
        opening: its first sentence.
    """

    name: str
    title: str
    opening: str


def chapters() -> list[Chapter]:
    """List the notebooks that ``_toc.yml`` names after the landing page, in reading order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    parts = [toc, *toc.get("parts", [])]
    paths = [ROOT / f"{entry['file']}.ipynb" for part in parts for entry in part.get("chapters", [])]
    return [read_chapter(path) for path in paths if path.exists()]  # a page that is no notebook is no chapter


def read_chapter(path: Path) -> Chapter:
    """Read a notebook's title and first sentence."""
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    text = "".join(cells[0]["source"])
    title, _, rest = text.removeprefix("# ").partition("\n")
    paragraph = " ".join(rest.strip().partition("\n\n")[0].split())
    return Chapter(path.stem, title.strip(), END_OF_SENTENCE.split(paragraph)[0].removesuffix(":"))


def times() -> Markdown:
    """Tabulate the chapters: their subject, the runs that they train at laptop scale, and the time that these took."""
    lines = ["| chapter | runs | one core |", "|---|---|---:|"]
    total = 0.0
    for chapter in chapters():
        names = CHAPTERS.get(chapter.name, ())
        found = [time for time in map(run_time, names) if time]
        total += sum(time.seconds for time in found)
        title = f"[{chapter.title}]({chapter.name}.ipynb)<br>{chapter.opening}"
        lines.append(f"| {title} | {', '.join(f'`{name}`' for name in names) or '–'} | {_minutes(names, found)} |")
    lines.append(f"| all runs, one seed of each | | {total / 60:.0f} min |")
    return Markdown("\n".join(lines))


def _minutes(names: tuple[str, ...], found: list[Time]) -> str:
    if not names:
        return "–"
    if len(found) < len(names):
        return "not measured"
    about = "about " if any(time.scaled for time in found) else ""
    seeds = count(min(time.seeds for time in found), "seed")
    return f"{about}{sum(time.seconds for time in found) / 60:.0f} min ({seeds})"
