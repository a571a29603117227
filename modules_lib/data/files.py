"""Data files: found in the data folder or downloaded into it, and never used unless their checksum is right."""

from __future__ import annotations

import uuid
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url

from modules_lib.folders import folder


class MissingDataError(RuntimeError):
    """A data file is not there and cannot be had."""


def data_folder() -> Path:
    """Where data are: the environment variable MODULES_DATA, else ``data/`` beside the library."""
    return folder("data")


def checked_file(name: str, md5: str, url: str) -> Path:
    """A file of the data folder, downloaded if it is not there.

    Args:
        name: its path in the data folder.
        md5: of its content.
        url: where it comes from.

    Raises:
        MissingDataError: it is not there and could not be downloaded.
        ValueError: it is damaged.
    """
    path = data_folder() / name
    if not path.exists():
        partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        try:
            download_url(url, str(path.parent), partial.name, md5)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            raise MissingDataError(
                f"{path} is not there and could not be downloaded ({error}); get it from {url} and put it there."
            ) from error
        partial.replace(path)
    if not check_integrity(str(path), md5):
        raise ValueError(
            f"{path} is damaged: its MD5 sum is not {md5}; move it away, and it is downloaded anew from {url}."
        )
    return path
