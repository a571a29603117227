"""One build at a time, and the leftovers of one that stopped or failed, which the next one makes again."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from tools.chapters import BookError, all_chapters, read
from tools.render import OUTPUT, executed, is_complete, missing

LOCK = OUTPUT / "_build/building.lock"
HOLDER = LOCK.with_suffix(".pid")
TRIED = OUTPUT / "_build/tried"


def hold() -> FileLock:
    """Take the lock on chapters and pages; it is free again as soon as this process ends, in whatever way.

    Raises:
        BookError: another process holds it.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        holder = HOLDER.read_text() if HOLDER.exists() else "unknown"
        raise BookError(f"process {holder} is making this book already: wait until it ends, or end it") from None
    HOLDER.write_text(str(os.getpid()))
    return lock


def check_free() -> None:
    """Find out before anything is trained whether chapters and pages can be made.

    Raises:
        BookError: another process makes them.
    """
    hold().release()


def tried(run: str | Path) -> Path:
    """Name the file that says that a run was made or has failed, which is all that chapters wait for."""
    return TRIED.joinpath(*Path(run).parts[-3:])


def failed(run: str | Path) -> Path:
    """Name the file with the reason why a run could not be made (:func:`reproduction.runs.store.failure`)."""
    return Path(run).with_suffix(".failed")


def begin(runs: Iterable[str], store: Path, since: float) -> None:
    """Have snakemake make again all that failed before this build, that is gone, or that is incomplete.

    Args:
        runs: the folders of the runs that are asked for.
        store: the run store.
        since: when this build began, in seconds since 1970.
    """
    for record in store.glob("*/*/seed-*.failed"):
        if record.stat().st_mtime < since:
            record.unlink()
    for run in runs:
        sign, mark = Path(run, "checksums.json"), tried(run)
        sign = sign if sign.exists() else failed(run)
        if sign.exists():
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            os.utime(mark, (time.time(), sign.stat().st_mtime))  # chapters are older than a run that was made anew
        else:
            mark.unlink(missing_ok=True)
    for name in all_chapters():
        if executed(name).exists() and not _is_whole(executed(name)):
            executed(name).unlink()


def _is_whole(path: Path) -> bool:
    try:
        nb = read(path)
    except BookError:
        return False
    return is_complete(nb) and not missing(nb)


def all_missing() -> list[str]:
    """List the sentences in which executed chapters say that something is missing, each once."""
    copies = [executed(name) for name in all_chapters() if executed(name).exists()]
    return list(dict.fromkeys(sentence for path in copies for sentence in missing(read(path))))
