"""How long the first step of mask training takes in a new process: ``python -m benchmarks.startup``.

Cold is with nothing compiled before, warm with that in the user's cache; both are beside a later step. Imports are not
counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from benchmarks.bench import stepper
from benchmarks.cases import CASES
from benchmarks.ordinary import timed

CACHES = ("TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR")
STEPS = 5


def first_and_later(name: str) -> tuple[float, float]:
    """Time steps of a case's network in this process: the first, and the last of the next few [s]."""
    [case] = [case for case in CASES if case.name == name]
    step = stepper("fast", case, "float32")
    seconds = [timed(step) / 1e3 for _ in range(STEPS)]
    return seconds[0], seconds[-1]


def main() -> None:
    print(f"{'model':<24}{'cold':>9}{'warm':>9}{'later':>9}  [s]")
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.startup", case.name]
        with tempfile.TemporaryDirectory() as caches:
            environment = os.environ | {name: os.path.join(caches, name) for name in CACHES}
            cold, warm = (
                subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
                for _ in ("cold", "warm")
            )
        print(f"{case.name:<24}{float(cold[0]):>9.2f}{float(warm[0]):>9.2f}{float(warm[1]):>9.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*first_and_later(sys.argv[1]))
    else:
        main()
