"""Checkpoints: the state from which a training loop goes on, in a file that shows its own damage."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor


def cannot_write(path: Path, error: Exception) -> RuntimeError:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return RuntimeError(
        f"{path} cannot be written ({reason}); make room or give access there, and the same command goes on "
        "from the last checkpoint."
    )


def record_of(path: Path) -> dict[str, Any]:
    """Read a checkpoint's record without its tensors, and without a check of its content.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    with path.open("rb") as file:
        file.readline()
        return json.loads(file.readline())


@dataclass(frozen=True)
class Checkpoint:
    """The last good state of one training loop and the one before it: ``<name>.checkpoint``, ``<name>.previous``.

    A file is the SHA-256 of the rest, a line of JSON, and tensors in the safetensors format.

    Attributes:
        folder: where the files are.
        name: the loop's.
        identity: the settings that decide the loop's result; files with other settings are not used.
    """

    folder: Path
    name: str
    identity: dict[str, Any]

    @property
    def files(self) -> tuple[Path, Path]:
        return self.folder / f"{self.name}.checkpoint", self.folder / f"{self.name}.previous"

    def save(self, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write a state; the last one becomes the previous one.

        Raises:
            RuntimeError: the state cannot be written; those before it are as they were.
        """
        line = json.dumps({**self.identity, "loop": self.name, **record}, separators=(",", ":")).encode() + b"\n"
        # Numbers of any kind of tensor, on any device, as contiguous memory on the CPU.
        content = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
        digest = hashlib.sha256(line)
        digest.update(content)
        last, previous = self.files
        fresh = last.with_suffix(f".{os.getpid()}.writing")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.writelines([digest.hexdigest().encode() + b"\n", line, content])
                file.flush()
                os.fsync(file.fileno())
            if last.exists():
                last.replace(previous)
            fresh.replace(last)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise cannot_write(last, error) from error

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Load record and tensors of the last good state, or None; damaged files are skipped with a warning."""
        for path in self.files:
            if path.exists():
                try:
                    return self._read(path)
                except (OSError, ValueError, SafetensorError) as error:
                    warnings.warn(f"{path} is not used ({error}); going on from before it.", stacklevel=2)
        return None

    def _read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        content = path.read_bytes()
        head, _, rest = content.partition(b"\n")
        if hashlib.sha256(rest).hexdigest().encode() != head:
            raise ValueError("it is damaged")
        line, _, tensors = rest.partition(b"\n")
        record = json.loads(line)
        if any(record.get(name) != value for name, value in {**self.identity, "loop": self.name}.items()):
            raise ValueError("it belongs to another run")
        return record, safetensors.torch.load(tensors)
