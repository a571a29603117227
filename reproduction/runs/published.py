"""The measurements of many runs as one tidy table, and the published ones, from which the book takes its numbers."""

from __future__ import annotations

import functools
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modules_lib.support.folders import folder
from reproduction.runs.store import TEXT_FILES, Run, seal, stored

if TYPE_CHECKING:
    from reproduction.protocol.config import Config


def results_folder() -> Path:
    """Find the folder of published runs: the variable MODULES_RESULTS, else ``results/`` beside the library."""
    return folder("results")


COLUMNS = ("experiment", "config", "seed", "stage", "layer", "task", "metric", "step", "bin", "value")


def table(runs: Iterable[Run], experiment: str | None = None) -> pd.DataFrame:
    """Collect the measurements of many runs, one a row, with experiment, config hash and seed; columns as in COLUMNS.

    Args:
        runs: the runs.
        experiment: take only the runs of this one.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}  # ten times faster than from rows
    for run in runs:
        if experiment in (None, run.experiment):
            rows = run.metrics()
            run_is = {"experiment": run.experiment, "config": run.folder.parent.name, "seed": run.seed}
            for name, column in columns.items():
                column += [run_is[name]] * len(rows) if name in run_is else [row.get(name) for row in rows]
    # Categories are compared as numbers, many times faster than text.
    return pd.DataFrame(columns).astype({"value": float, "stage": "category", "metric": "category"})


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
    """Copy runs' text files to ``results/``. What is published already with other numbers is not overwritten.

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
        if target.exists():
            if Run(target).metrics() != run.metrics():
                raise ValueError(
                    f"{target} is published with other numbers than {run.folder} has; move the old folder away to "
                    "publish the new one."
                )
            continue
        staging = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        staging.mkdir(parents=True)
        try:
            masks = [f"masks/{stage}.safetensors" for stage in (drawn if run.seed == 0 else ())]
            for name in (*TEXT_FILES, *masks):
                (staging / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(run.checked(name), staging / name)
            seal(staging, run.name)
            staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        copied.append(target)
    _published.cache_clear()
    return copied
