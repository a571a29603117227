"""Checksums of a run's files: whose files these are, and that each is as it was stored."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def seal(folder: Path, name: str) -> None:
    """Write the checksums of all files in a folder, as those of the run with this name."""
    digests = {}
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "checksums.json"]
    for path in sorted(files):
        digests[path.relative_to(folder).as_posix()] = digest(path)
    digests["checksums.json"] = digest_of_digests(name, digests)
    content = json.dumps({"run": name, "sha256": digests}, indent=1)
    (folder / "checksums.json").write_text(content + "\n", encoding="utf8")


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_digests(name: str, digests: dict[str, str]) -> str:
    """Compute the SHA-256 of a run's name and its files' checksums, in hexadecimal digits."""
    return hashlib.sha256(json.dumps([name, digests], sort_keys=True).encode()).hexdigest()
