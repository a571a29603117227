"""Write the measurements of stored runs in the form of today, checksums and all: ``python -m tools.repack FOLDER``."""

import argparse
import json
from pathlib import Path

from reproduction.runs.measurements import packed
from reproduction.runs.published import results_folder
from reproduction.runs.sealing import seal
from reproduction.runs.store import Run, stored


def repack(run: Run) -> int:
    """Rewrite a run's measurements; returns the bytes that this saves. A damaged run is refused with a ValueError."""
    for name in ("config.json", "provenance.json"):
        run.checked(name)
    path = run.checked("metrics.jsonl")
    before, rows = path.stat().st_size, packed(run.metrics())
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), encoding="utf8")
    seal(run.folder, run.name)
    return before - path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.repack", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=results_folder(), help="of runs (%(default)s)")
    folder = parser.parse_args().folder
    saved = [repack(run) for run in stored(folder)]
    print(f"{len(saved)} runs, {sum(saved) / 2**20:.1f} MB less.")


if __name__ == "__main__":
    main()
