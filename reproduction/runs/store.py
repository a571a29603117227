"""The run store: a run is one experiment at one config and seed, and is made once.

``runs/<experiment>/<hash of the config>/seed-<n>/`` holds

- ``config.json``        the settings that decide the result
- ``provenance.json``    library version, commit, torch, device, start, wall time
- ``metrics.jsonl``      measurements, one or a series a line (``reproduction.runs.measurements``)
- ``weights.safetensors``, ``masks/<stage>.safetensors``
- ``checksums.json``     whose files these are, and the SHA-256 of each

It appears whole, by one rename. While a run is made its checkpoints are in ``seed-<n>.partial/``, and a lock keeps
two processes from making it at once. Where the last attempt failed, ``seed-<n>.failed`` says why. ``results/``
(:mod:`reproduction.runs.published`) has the same layout without weights, and with the masks that the book draws alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from modules_lib.masking.masks import Masks
from modules_lib.support.device import device
from modules_lib.support.folders import folder
from modules_lib.training.checkpoints import Checkpoint, cannot_write, record_of
from reproduction.runs.measurements import packed, unpacked, with_names_of_today
from reproduction.runs.sealing import digest, digest_of_digests, seal

if TYPE_CHECKING:
    from reproduction.protocol.config import Config

NOT_A_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
TEXT_FILES = ("config.json", "provenance.json", "metrics.jsonl")


def runs_folder() -> Path:
    """Find the folder of runs: the environment variable MODULES_RUNS, else ``runs/`` beside the library."""
    return folder("runs")


def check_writable() -> None:
    """Find out before hours of training whether their result can be stored.

    Raises:
        ValueError: the folder cannot be written.
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
    """A finished run, read from its folder. A file that is not as it was stored is refused with a ValueError."""

    folder: Path

    @property
    def seed(self) -> int:
        return int(self.folder.name.removeprefix("seed-"))

    @property
    def experiment(self) -> str:
        return self.folder.parent.parent.name

    @property
    def name(self) -> str:
        """Experiment, hash of the config and seed, as in the folder's path."""
        return "/".join(self.folder.parts[-3:])

    def config(self) -> dict[str, Any]:
        return json.loads(self._text("config.json"))

    def provenance(self) -> dict[str, Any]:
        return json.loads(self._text("provenance.json"))

    def metrics(self) -> list[dict[str, Any]]:
        """Read the measurements, a mapping each, under the names that their columns have now."""
        return unpacked(self.series())

    def series(self) -> list[dict[str, Any]]:
        """Read the measurements as they are stored, a mapping a series (``reproduction.runs.measurements``)."""
        rows = json.loads(f"[{','.join(self._text('metrics.jsonl').splitlines())}]")
        return [with_names_of_today(row) for row in rows]

    def masks(self, stage: str) -> Masks:
        return Masks.load(self.checked(f"masks/{stage}.safetensors"))

    def load_weights(self, model: nn.Module) -> nn.Module:
        """Put the trained weights into a model of the run's architecture; returns it in evaluation mode."""
        path = self.checked("weights.safetensors")
        try:
            load_model(model, path)
        except RuntimeError as error:
            raise ValueError(f"{path} holds the weights of another architecture than the model's.") from error
        return model.to(device()).eval()

    def damage(self) -> list[str]:
        """Describe each damaged file in a few words."""
        try:
            names = list(self._checksums())
        except ValueError as error:
            return [str(error)]
        problems = []
        for name in names:
            try:
                self.checked(name)
            except ValueError as error:
                problems.append(str(error))
        return problems

    def _text(self, name: str) -> str:
        return self.checked(name).read_text(encoding="utf8")

    def checked(self, name: str) -> Path:
        """Find the path of a file that is as it was stored; a ValueError if it is not."""
        path = self.folder / name
        try:
            found = digest(path)
        except NOT_A_FILE as error:
            raise self._damaged(path, error.strerror) from error
        if self._checksums().get(name) != found:
            raise self._damaged(path, "its content is not what was stored")
        return path

    def _checksums(self) -> dict[str, str]:
        path = self.folder / "checksums.json"
        try:
            stored = json.loads(path.read_text(encoding="utf8"))
            name, files = stored["run"], dict(stored["sha256"])
            if files.pop("checksums.json") != digest_of_digests(name, files):
                raise ValueError
        except NOT_A_FILE as error:
            raise self._damaged(path, error.strerror) from error
        except (ValueError, TypeError, KeyError) as error:
            raise self._damaged(path, "its content is not what was stored") from error
        if name != self.name or not set(TEXT_FILES) <= set(files):
            raise self._damaged(path, f"it belongs to {name}")
        return files

    def _damaged(self, path: Path, reason: str | None) -> ValueError:
        return ValueError(f"{path} is damaged ({reason}); move {self.folder} away and run it again.")


def folder_of(config: Config, seed: int) -> Path:
    return runs_folder() / config.experiment / config.hash() / f"seed-{seed}"


def find(config: Config, seed: int) -> Run | None:
    """Find the finished run of this config and seed, if there is one. An empty folder is none."""
    folder = folder_of(config, seed)
    return Run(folder) if folder.is_dir() and any(folder.iterdir()) else None


def set_aside_if_damaged(config: Config, seed: int) -> None:
    """Check every file of a finished run; one that is damaged is named and moved aside, to be made again."""
    with lock(config, seed):
        run = find(config, seed)
        problems = run.damage() if run else []
        if run and problems:
            aside = run.folder.with_name(f"{run.folder.name}.damaged-{uuid.uuid4().hex[:8]}")
            run.folder.rename(aside)
            warnings.warn(f"{problems[0]} It was moved to {aside} and is made again.", stacklevel=2)


def set_aside_if_of_another(config: Config, seed: int, origin: dict[str, Any]) -> Path | None:
    """Move the checkpoints of an unfinished run aside if another commit or processor made some of them.

    Returns:
        where they are now; None where there is nothing to move, or a process makes the run.
    """
    partial = checkpoint(config, seed, "").folder
    records = [record_of(path) for path in partial.glob("*.checkpoint")]
    if all(part == origin for record in records for part in record["code"]):
        return None
    try:
        with lock(config, seed).acquire(blocking=False):
            return partial.rename(partial.with_name(f"seed-{seed}.of-another-{uuid.uuid4().hex[:8]}"))
    except Timeout:
        return None


def lock(config: Config, seed: int) -> FileLock:
    """Make the lock that a process holds while it makes a run; others wait for it."""
    folder = folder_of(config, seed)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def checkpoint(config: Config, seed: int, loop: str) -> Checkpoint:
    """Name the place where a training loop of an unfinished run keeps its state."""
    folder = folder_of(config, seed)
    return Checkpoint(folder.with_name(f"{folder.name}.partial"), loop, {"run": Run(folder).name})


def failure(config: Config, seed: int) -> str:
    """Read why this run could not be made the last time, in a sentence; empty if that is not known."""
    path = _failure_file(config, seed)
    return path.read_text(encoding="utf8").strip() if path.exists() else ""


def record_failure(config: Config, seed: int, reason: str) -> None:
    """Keep beside an unfinished run why it could not be made, for :func:`failure`; the next attempt removes it."""
    with contextlib.suppress(OSError):  # a full disk is reason enough, and may be the reason
        _failure_file(config, seed).write_text(reason + "\n", encoding="utf8")


def forget_failure(config: Config, seed: int) -> None:
    """Remove what :func:`record_failure` kept, if it did."""
    _failure_file(config, seed).unlink(missing_ok=True)


def _failure_file(config: Config, seed: int) -> Path:
    return folder_of(config, seed).with_suffix(".failed")


def save(
    config: Config,
    seed: int,
    model: nn.Module,
    masks: dict[str, Masks],
    metrics: Iterable[dict[str, Any]],
    provenance: dict[str, Any],
) -> Run:
    """Store a finished run, and drop its checkpoints and the reason of an earlier failure.

    The folder appears whole or not at all; one that is there stays.

    Raises:
        RuntimeError: the run cannot be written, as on a full disk.
    """
    target = folder_of(config, seed)
    staging = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        (staging / "masks").mkdir(parents=True)
        (staging / "config.json").write_text(config.to_json() + "\n", encoding="utf8")
        (staging / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf8")
        lines = [json.dumps(row, separators=(",", ":")) for row in packed(metrics)]
        (staging / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf8")
        save_model(model, str(staging / "weights.safetensors"))
        for stage, mask in masks.items():
            mask.save(staging / "masks" / f"{stage}.safetensors", model)
        seal(staging, Run(target).name)
        _flush(staging, *staging.rglob("*"))
        if find(config, seed) is None:
            staging.rename(target)  # which may be there if it is empty
            _flush(target.parent)
    except (OSError, SafetensorError) as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(target.with_name(f"{target.name}.partial"), ignore_errors=True)
    forget_failure(config, seed)
    return Run(target)


def _flush(*paths: Path) -> None:
    """Write files and folders through to the disk, before the checkpoints that could make them again are dropped."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def stored(folder: Path, place: str = "*/*") -> list[Run]:
    """Find the finished runs below ``runs/`` or ``results/``, ordered by experiment, config and seed.

    Args:
        folder: of the runs.
        place: only those there, as ``EXPERIMENT/HASH``.
    """
    found = [Run(path) for path in folder.glob(f"{place}/seed-*") if re.fullmatch(r"seed-\d+", path.name)]
    return sorted(found, key=lambda run: (run.experiment, run.folder.parent.name, run.seed))
