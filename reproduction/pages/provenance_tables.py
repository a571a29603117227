"""Where the published numbers come from: environment, seeds, time and commands of every run in ``results/``."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from IPython.display import Markdown

from modules_lib.analysis.theme import count
from reproduction.experiments import EXPERIMENTS, nearest_scale, published_preset, read_config
from reproduction.notebook.commands import run_command
from reproduction.runs.published import results_folder
from reproduction.runs.store import Run, stored
from reproduction.runs.tables import settings

# Key in provenance.json -> its name for readers. Every run has one thread; several runs are made at once.
ENVIRONMENT = {
    "library": "modules_lib",
    "python": "Python",
    "torch": "PyTorch",
    "device": "device",
    "hardware": "processor",
    "native_bfloat16": "products in bfloat16 where the settings say `auto`",
    "threads": "threads of a run",
    "dirty": "made with changes that no commit has",
}


SHOWN = {"laptop": "hours at laptop scale", "paper": "hours at the paper's scale"}


def published() -> list[list[Run]]:
    """List all published runs, those of one config together."""
    return [list(runs) for _, runs in groupby(stored(results_folder()), key=lambda run: run.folder.parent)]


def environment() -> Markdown:
    """Tabulate the environment of the published runs, and how many of them were made in it."""
    found = [run.provenance() for runs in published() for run in runs]
    lines = ["| | published runs |", "|---|---|"]
    for key, called in ENVIRONMENT.items():
        values = [_plain(about.get(key)) for about in found]
        lines.append(f"| {called} | {', '.join(_with_counts(values))} |")
    commits = {about["commit"] for about in found}
    days = sorted({about["started"][:10] for about in found})
    lines.append(f"| commits | {len(commits)}, each run's in its `provenance.json` |")
    lines.append(f"| started | {' to '.join(dict.fromkeys((days[0], days[-1])))} (UTC) |")
    return Markdown("\n".join(lines))


def _plain(value: Any) -> str:
    return "not known" if value is None else ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _with_counts(values: list[str]) -> list[str]:
    """Each value once; with the number of its runs where there are several."""
    kinds = list(dict.fromkeys(values))
    return kinds if len(kinds) == 1 else [f"{kind} ({count(values.count(kind), 'run')})" for kind in kinds]


def all_runs() -> Markdown:
    """Tabulate the published configs: settings, seeds, and the seconds that every seed took."""
    lines = ["| experiment | settings | seeds | seconds of each seed | hours |", "|---|---|---|---|---:|"]
    total = 0.0
    for runs in published():
        seconds = [run.provenance()["seconds"] for run in runs]
        total += sum(seconds)
        seeds = ", ".join(str(run.seed) for run in runs)
        each = ", ".join(f"{value:,.0f}" for value in seconds)
        hours = f"{sum(seconds) / 3600:.2f}"
        lines.append(f"| `{runs[0].experiment}` | {_settings(runs[0])} | {seeds} | {each} | {hours} |")
    number = sum(map(len, published()))
    lines.append(f"| **all** | | {count(number, 'run')} | | **{total / 3600:.1f}** |")
    return Markdown("\n".join(lines))


def computing_time() -> Markdown:
    """Tabulate the hours of one thread that the published runs took: by experiment, processor and scale."""
    hours: dict[tuple[str, str], dict[str, float]] = {}
    for run in (run for runs in published() for run in runs):
        about, (scale, _) = run.provenance(), nearest_scale(read_config(run.config()))
        of = hours.setdefault((run.experiment, about.get("hardware") or "not known"), dict.fromkeys(SHOWN, 0.0))
        if scale in of:
            of[scale] += about["seconds"] / 3600
    lines = [f"| experiment | processor | {' | '.join(SHOWN.values())} |", "|---|---|" + "---:|" * len(SHOWN)]
    for (experiment, processor), of in hours.items():
        lines.append(f"| `{experiment}` | {processor} | {' | '.join(f'{of[scale]:.1f}' for scale in SHOWN)} |")
    sums = " | ".join(f"**{sum(of[scale] for of in hours.values()):.1f}**" for scale in SHOWN)
    return Markdown("\n".join([*lines, f"| **all** | | {sums} |"]))


def _settings(run: Run) -> str:
    """The scale, "laptop, as published" for runs that a chapter has no time for, and settings that differ."""
    config = read_config(run.config())
    if config == published_preset(run.experiment):
        return "laptop, as published" if config != EXPERIMENTS[run.experiment].presets["laptop"] else "laptop"
    return settings(run.config()).replace("_", r"\_")


def all_commands() -> str:
    """List the commands that make every published run again, one a line."""
    return "\n".join(run_command(read_config(runs[0].config()), [run.seed for run in runs]) for runs in published())
