"""How long ten thousand runs take to load as one table: ``python -m benchmarks.loading``.

The published runs are read again and again, from the disk's cache. Seconds are of one core.
"""

from __future__ import annotations

import itertools
import time

from reproduction.runs.published import results_folder, table
from reproduction.runs.store import stored

RUNS = 10_000


def main() -> None:
    published = stored(results_folder())
    began = time.process_time()
    frame = table(itertools.islice(itertools.cycle(published), RUNS))
    seconds = time.process_time() - began
    print(f"{RUNS:,} runs, {len(frame):,} measurements: {seconds:.1f} s, {seconds / len(frame) * 1e9:.0f} ns each")


if __name__ == "__main__":
    main()
