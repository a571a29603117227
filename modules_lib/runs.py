"""The run store: a run is one experiment at one config and seed, and is made once.

``runs/<experiment>/<hash of the config>/seed-<n>/`` holds

- ``config.json``        what decides the result
- ``provenance.json``    library version, commit, torch, device, start, wall time
- ``metrics.jsonl``      tidy measurements, one a line
- ``weights.safetensors``, ``masks/<stage>.safetensors``

``results/`` has the same layout without weights and masks: the runs that the book publishes.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from modules_lib.device import device
from modules_lib.masks import Masks

if TYPE_CHECKING:
    from modules_lib.experiments.config import Config

ROOT = Path(__file__).resolve().parent.parent
TEXT_FILES = ("config.json", "provenance.json", "metrics.jsonl")


def runs_folder() -> Path:
    """Where runs are kept: the environment variable MODULES_RUNS, else ``runs/`` beside the library."""
    return Path(os.environ.get("MODULES_RUNS") or ROOT / "runs").resolve()


def results_folder() -> Path:
    """Where published runs are: the environment variable MODULES_RESULTS, else ``results/`` beside the library."""
    return Path(os.environ.get("MODULES_RESULTS") or ROOT / "results").resolve()


def check_writable() -> None:
    """Find out before hours of training whether their result can be stored.

    Raises:
        ValueError: it cannot.
    """
    try:
        runs_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs_folder()):
            pass
    except OSError as error:
        raise ValueError(
            f"Runs cannot be stored in {runs_folder()} ({error.strerror}); make it writable, or name another folder in "
            "the environment variable MODULES_RUNS."
        ) from error


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path

    @property
    def seed(self) -> int:
        return int(self.folder.name.removeprefix("seed-"))

    @property
    def experiment(self) -> str:
        return self.folder.parent.parent.name

    def config(self) -> dict[str, Any]:
        return _read_json(self.folder / "config.json")

    def provenance(self) -> dict[str, Any]:
        return _read_json(self.folder / "provenance.json")

    def metrics(self) -> list[dict[str, Any]]:
        path = self.folder / "metrics.jsonl"
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines()]
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error
        if not rows:
            raise _damaged(path, ValueError("it is empty"))
        return rows

    def masks(self, stage: str) -> Masks:
        path = self.folder / "masks" / f"{stage}.safetensors"
        try:
            return Masks.load(path)
        except FileNotFoundError as error:
            raise _damaged(path, error) from error

    def load_weights(self, model: nn.Module) -> nn.Module:
        """Put the trained weights into a model of the run's architecture; returns it in evaluation mode."""
        path = self.folder / "weights.safetensors"
        try:
            load_model(model, path)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise _damaged(path, error) from error
        return model.to(device()).eval()


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0]
    return ValueError(f"{path} is damaged or missing ({reason}); move {path.parent} away and run it again.")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def folder_of(config: Config, seed: int) -> Path:
    return runs_folder() / config.experiment / config.hash() / f"seed-{seed}"


def find(config: Config, seed: int) -> Run | None:
    """The finished run of this config and seed, if there is one."""
    folder = folder_of(config, seed)
    return Run(folder) if folder.exists() else None


def save(
    config: Config,
    seed: int,
    model: nn.Module,
    masks: dict[str, Masks],
    metrics: Iterable[dict[str, Any]],
    provenance: dict[str, Any],
) -> Run:
    """Store a finished run. Its folder appears whole or not at all; one that is there already stays as it is."""
    target = folder_of(config, seed)
    partial = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    (partial / "masks").mkdir(parents=True)
    try:
        (partial / "config.json").write_text(config.to_json() + "\n", encoding="utf8")
        (partial / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf8")
        lines = [json.dumps(_without_nan(row), separators=(",", ":")) for row in metrics]
        (partial / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
        save_model(model, str(partial / "weights.safetensors"))
        for stage, mask in masks.items():
            mask.save(partial / "masks" / f"{stage}.safetensors", model)
        if not target.exists():
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Run(target)


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no nan: a measurement that is not available is null."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def stored(folder: Path) -> list[Run]:
    """All finished runs below ``runs/`` or ``results/``, ordered by experiment, config and seed."""
    found = [Run(path.parent) for path in folder.glob("*/*/seed-*/metrics.jsonl")]
    return sorted(found, key=lambda run: (run.experiment, run.folder.parent.name, run.seed))


COLUMNS = ("experiment", "config", "seed", "stage", "layer", "task", "metric", "step", "value")


def table(runs: Iterable[Run], experiment: str | None = None) -> pd.DataFrame:
    """The measurements of many runs, one a row, with experiment, config hash and seed; columns as in COLUMNS.

    Args:
        runs: the runs.
        experiment: take only the runs of this one.
    """
    rows = [
        {"experiment": run.experiment, "config": run.folder.parent.name, "seed": run.seed, **row}
        for run in runs
        if experiment in (None, run.experiment)
        for row in run.metrics()
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"value": float})


@functools.cache
def _published(folder: Path) -> pd.DataFrame:
    return table(stored(folder))


def published(*configs: Config) -> pd.DataFrame:
    """The published measurements (:func:`table`), of these configs or of all."""
    frame = _published(results_folder())
    if not configs:
        return frame
    return frame[frame["config"].isin([config.hash() for config in configs])]


def publish(runs: Iterable[Run], dirty: bool = False) -> list[Path]:
    """Copy runs' text files to ``results/``. What is published already with other numbers is not overwritten.

    Args:
        runs: finished runs.
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
        target.mkdir(parents=True)
        for name in TEXT_FILES:
            shutil.copyfile(run.folder / name, target / name)
        copied.append(target)
    return copied
