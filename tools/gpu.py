"""All that a machine with a GPU can show, in one command: ``make gpu``. It prints the lines to report."""

import platform
import subprocess
import sys
import time

import torch

from tools.chapters import ROOT

# What is shown -> the arguments of Python that show it.
PARTS = {
    "tests on the GPU": ["-m", "pytest", "-q", "-m", "gpu", "tests"],
    "a step of mask training, and its floor": ["-m", "benchmarks.bench", "--rounds", "5", "--seconds", "3"],
    "the laptop book": ["-m", "tools.book", "build", "--scale", "laptop"],
}


def machine() -> str:
    """Name the GPU, the versions of torch and CUDA, and the processor beside it, in a line."""
    about = torch.cuda.get_device_properties(0)
    memory = about.total_memory / 2**30
    count = torch.cuda.device_count()
    return (
        f"{count} x {about.name}, {memory:.0f} GiB; PyTorch {torch.__version__}, CUDA {torch.version.cuda}; "
        f"Python {platform.python_version()}, {platform.machine()}"
    )


def main() -> int:
    """Show every part, also after one that fails, and print the report; 1 if one failed, 2 without a GPU."""
    if not torch.cuda.is_available():
        print(
            f"PyTorch {torch.__version__} finds no GPU here: run this on a machine with one, with a build of PyTorch "
            "for its driver. All else works on a CPU.",
            file=sys.stderr,
        )
        return 2
    report, worst = [machine()], 0
    for part, arguments in PARTS.items():
        print(f"\n== {part} ==", flush=True)
        began = time.monotonic()
        code = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode
        report.append(f"{part}: {'passed' if code == 0 else f'failed ({code})'} in {time.monotonic() - began:.0f} s")
        worst = worst or int(code != 0)
    print("\nTo report, with the table of milliseconds above:", *report, sep="\n  ")
    return worst


if __name__ == "__main__":
    sys.exit(main())
