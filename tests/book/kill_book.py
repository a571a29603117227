"""Make the book at smoke scale, killed with its children at random moments: ``python -m tests.book.kill_book 10``.

It is made in a temporary folder from no runs, once undisturbed, and as often again as it takes to be killed so many
times. Prints when and in which phase it was killed, and ends with an error if a book differs from the undisturbed one.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.book.test_building import BUILD, SIGNS, kill, pages
from tests.conftest import ROOT


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
    killed, same = 0, True
    while killed < kills:
        if build(disturbed, moments.uniform(0, 0.4 * seconds)):  # it came to its end first: begin another
            same &= pages(whole) == pages(disturbed)
            shutil.rmtree(disturbed), disturbed.mkdir()
        else:
            killed += 1
    build(disturbed)
    same &= pages(whole) == pages(disturbed)
    shutil.rmtree(folder)
    print(f"killed {killed} times, the books {'are the same' if same else 'differ'}")
    sys.exit(not same)


if __name__ == "__main__":
    main(int(sys.argv[1]))
