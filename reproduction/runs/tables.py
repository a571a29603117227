"""The contents of the run store, as a table for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from modules_lib.training.checkpoints import record_of
from reproduction.experiments import nearest_scale, read_config
from reproduction.runs.store import runs_folder, stored


def store() -> pd.DataFrame:
    """Tabulate every run in the store, finished or not."""
    rows = []
    for run in stored(runs_folder()):
        if run.damage():
            state = {"settings": "damaged: `check` says more"}
        else:
            about = run.provenance()
            state = {"settings": settings(run.config()), "seconds": about["seconds"], "started": about["started"]}
        rows.append({**_place(run.folder), "seed": run.seed, **state})
    for path in sorted(runs_folder().glob("*/*/seed-*.partial")):
        seed = path.name.removeprefix("seed-").removesuffix(".partial")
        if path.with_name(f"seed-{seed}").exists():
            continue  # left over by a process that was killed at its very end
        made = ", ".join(map(_made, sorted(path.glob("*.checkpoint")))) or "just begun"
        rows.append({**_place(path), "seed": seed, "settings": f"unfinished: {made}"})
    for path in sorted(runs_folder().glob("*/*/seed-*.failed")):
        reason = path.read_text(encoding="utf8").strip()
        rows.append({**_place(path), "seed": path.stem.removeprefix("seed-"), "settings": f"failed: {reason}"})
    return pd.DataFrame(rows, dtype=object).fillna("")


def _place(path: Path) -> dict[str, str]:
    return {"experiment": path.parent.parent.name, "config": path.parent.name}


def _made(path: Path) -> str:
    """A checkpoint's loop and the steps made in it."""
    try:
        return f"{path.stem} {record_of(path)['steps']}"
    except (OSError, ValueError, KeyError):
        return f"{path.stem} damaged"


def settings(stored: dict[str, Any]) -> str:
    """Say the scale of a run, or how it differs from the nearest preset."""
    try:
        config = read_config(stored)
    except ValueError as error:
        return f"of another version: {error}"
    scale, changes = nearest_scale(config)
    return ", ".join([scale, *(f"{name} {value}" for name, value in changes.items())])
