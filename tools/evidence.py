"""The runs of evidence.yaml: how many are published, how long the others will take, and making them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from reproduction.experiments import preset, read_config
from reproduction.protocol.config import Config
from reproduction.runs.provenance import commit
from reproduction.runs.published import results_folder, runs_of
from reproduction.runs.store import find, stored
from tools.book import finished
from tools.chapters import ROOT, BookError

QUEUE = ROOT / "evidence.yaml"


def lines(path: Path = QUEUE) -> Iterator[tuple[Config, list[int]]]:
    """Read the queue: the config and the seeds of each line, in order.

    Raises:
        ValueError: an experiment or setting is not known.
    """
    asked = yaml.safe_load(path.read_text(encoding="utf8"))
    for line in asked["queue"]:
        yield preset(line["experiment"], asked["scale"], **settings_of(line)), line["seeds"]


def settings_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Take the settings that differ from the preset from a line of the queue."""
    return {name: value for name, value in line.items() if name not in ("experiment", "seeds")}


def seconds_of(config: Config) -> float | None:
    """Estimate the seconds of a run on one core from published runs of its experiment, by the number of steps.

    Those of the longest runs are taken, so that steps at another scale do not count. None where there is none.
    """
    times: dict[int, list[float]] = {}
    for run in stored(results_folder(), f"{config.experiment}/*"):
        times.setdefault(read_config(run.config()).work(), []).append(run.provenance()["seconds"])
    longest = max((work for work in times if 4 * work >= config.work()), default=None)
    return sum(times[longest]) / len(times[longest]) * config.work() / longest if longest else None


def left(path: Path = QUEUE) -> list[dict[str, Any]]:
    """Tell of each line of the queue its seeds, those published and finished, and the hours of a core that are left."""
    rows = []
    for config, seeds in lines(path):
        published = {run.seed for run in runs_of(config)} & set(seeds)
        made = {seed for seed in set(seeds) - published if find(config, seed)}
        seconds, open_ = seconds_of(config), len(seeds) - len(published) - len(made)
        hours = 0.0 if not open_ else None if seconds is None else open_ * seconds / 3600
        row = {"experiment": config.experiment, "seeds": len(seeds), "published": len(published)}
        rows.append({**row, "finished": len(made), "hours": hours})
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    """Write the queue as a table, with what is left in all."""
    table = [f"{'experiment':<20}{'seeds':>7}{'published':>11}{'finished':>10}{'hours left':>12}"]
    for row in rows:
        hours = "not known" if row["hours"] is None else f"{row['hours']:.1f}"
        table.append(f"{row['experiment']:<20}{row['seeds']:>7}{row['published']:>11}{row['finished']:>10}{hours:>12}")
    total = sum(row["hours"] or 0 for row in rows)
    unknown = sum(row["hours"] is None for row in rows)
    more = f", and those of {unknown} lines that nobody has timed" if unknown else ""
    return "\n".join([*table, "", f"{total:.0f} hours of one core are left{more}."])


def make(jobs: int) -> int:
    """Make the runs that are not published, in order, so many at once, and publish each; returns an exit code.

    Raises:
        BookError: the code has changes that no commit has, so that nobody could make the runs again.
    """
    if commit()["dirty"]:
        raise BookError("modules_lib or reproduction has changes that no commit has: commit them before runs are made")
    os.nice(19)  # whoever works on this machine comes first
    words = ["evidence", "--configfile", QUEUE.name, "--cores", str(jobs), "--quiet", "rules"]
    return finished([sys.executable, "-m", "snakemake", *words])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.evidence", description=__doc__)
    parser.add_argument("--make", type=int, metavar="JOBS", help="make and publish what is left, so many runs at once")
    jobs = parser.parse_args().make
    print(report(left()))
    if jobs is None:
        return
    try:
        code = make(jobs)
    except BookError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Published runs are in results/; the same command goes on with the others.")
    print(report(left()))
    sys.exit(code)


if __name__ == "__main__":
    main()
