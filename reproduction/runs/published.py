"""The measurements of many runs as one tidy table, and the published ones, from which the book takes its numbers."""

from __future__ import annotations

import functools
import json
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from modules_lib.support.folders import folder
from reproduction.runs.measurements import tabulated
from reproduction.runs.sealing import seal
from reproduction.runs.store import TEXT_FILES, Run, stored

if TYPE_CHECKING:
    from reproduction.protocol.config import Config


def results_folder() -> Path:
    """Find the folder of published runs: the variable MODULES_RESULTS, else ``results/`` beside the library."""
    return folder("results")


def table(runs: Iterable[Run], experiment: str | None = None) -> pd.DataFrame:
    """Collect the measurements of many runs, one a row, with experiment, config hash and seed; columns as in COLUMNS.

    Args:
        runs: the runs.
        experiment: take only the runs of this one.
    """
    chosen = (run for run in runs if experiment in (None, run.experiment))
    return tabulated(
        ({"experiment": run.experiment, "config": run.folder.parent.name, "seed": run.seed}, run.series())
        for run in chosen
    )


@functools.cache
def _published(folder: Path, place: str) -> pd.DataFrame:
    return table(stored(folder, place))


def published(config: Config) -> pd.DataFrame:
    """Read the published measurements (:func:`table`) of a config; files are read once in a process."""
    return _published(results_folder(), f"{config.experiment}/{config.hash()}").copy(deep=False)  # copied on write


def runs_of(config: Config) -> list[Run]:
    """List the published runs of a config, by seed."""
    return stored(results_folder(), f"{config.experiment}/{config.hash()}")


def publish(runs: Iterable[Run], drawn: Iterable[str] = (), dirty: bool = False) -> list[Path]:
    """Copy runs' text files to ``results/``. A run that is published with other numbers is not overwritten.

    A run that is published without masks, and was made again with the same numbers, is published with them.

    Args:
        runs: finished runs.
        drawn: stages whose masks are copied, too, of the run of seed 0: they are large, and one shows what there is.
        dirty: also those that were made with changes that no commit has.

    Raises:
        ValueError: a run is published with other numbers, or was made with uncommitted changes.
    """
    copied = []
    for run in runs:
        if run.provenance().get("dirty") and not dirty:
            raise ValueError(
                f"{run.folder} was made with changes that no commit has, so nobody can make it again; commit them, "
                "move the folder away and run it again."
            )
        target = results_folder() / run.folder.relative_to(run.folder.parents[2])
        masks = [f"masks/{stage}.safetensors" for stage in (drawn if run.seed == 0 else ())]
        if target.exists() and _numbers(Run(target)) != _numbers(run):
            raise ValueError(
                f"{target} is published with other numbers than {run.folder} has; move the old folder away to "
                "publish the new one."
            )
        if not all((target / name).exists() for name in (*TEXT_FILES, *masks)):
            _copy(run, target, (*TEXT_FILES, *masks))
            copied.append(target)
    _published.cache_clear()
    return copied


def _numbers(run: Run) -> list[str]:
    """A run's measurements, in whichever order they are stored."""
    return sorted(json.dumps(row, sort_keys=True) for row in run.metrics())


def _copy(run: Run, target: Path, names: Iterable[str]) -> None:
    """Copy files of a run to a folder that appears whole, in the place of one with fewer files."""
    staging, fewer = (target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}") for _ in range(2))
    staging.mkdir(parents=True)
    try:
        for name in names:
            (staging / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(run.checked(name), staging / name)
        seal(staging, run.name)
        if target.exists():
            target.rename(fewer)
        staging.rename(target)
        shutil.rmtree(fewer, ignore_errors=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
