"""Make the book at smoke scale, killed with its children at random moments: ``python -m tests.kill_book 10``.

It is made twice in a temporary folder, once undisturbed, from no runs. Prints when and in which phase it was killed,
and ends with an error if the two books differ.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.test_building import BUILD, SIGNS, kill, pages


def build(folder, lifetime=None):
    """Make the book, for so many seconds if it is to be killed; returns whether it came to its end."""
    places = {"MODULES_OUTPUT": str(folder), "MODULES_RUNS": str(folder / "runs"), "MODULES_CHECKPOINT": "0"}
    with (folder / "log").open("a") as log:
        command = [sys.executable, "-m", *BUILD]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | places, stdout=log, stderr=log)
        try:
            assert process.wait(lifetime) == 0, (folder / "log").read_text()[-3000:]
            return True
        except subprocess.TimeoutExpired:
            phase = next((name for name in reversed(SIGNS) if any(folder.glob(SIGNS[name]))), "between")
            kill(process)
            print(f"killed after {lifetime:5.1f} s, {phase}", flush=True)
            return False


def main(kills):
    folder = Path(tempfile.mkdtemp(prefix="kill-book-"))
    whole, disturbed = folder / "whole", folder / "disturbed"
    whole.mkdir(), disturbed.mkdir()
    began = time.monotonic()
    build(whole)
    seconds = time.monotonic() - began
    moments = random.Random(kills)
    for _ in range(kills):
        if build(disturbed, moments.uniform(0, 0.4 * seconds)):
            break
    build(disturbed)
    same = pages(whole) == pages(disturbed)
    shutil.rmtree(folder)
    sys.exit(None if same else "the books differ")


if __name__ == "__main__":
    main(int(sys.argv[1]))
