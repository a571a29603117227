"""Where a result comes from: the record that is kept beside every run."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from modules_lib.support.device import device
from modules_lib.support.folders import ROOT
from modules_lib.support.precision import native_bfloat16

PACKAGES = ("modules_lib", "reproduction")  # whose code decides a result


def provenance(code: list[dict[str, Any]], started: str, seconds: float) -> dict[str, Any]:
    """Record library, commit, software, hardware, start (UTC), and the seconds of one thread for all parts of a run.

    Args:
        code: the result of :func:`origin` at the beginning of each part. Several commits are named with commas, several
            processors with "and".
    """
    commits = sorted({part["commit"] for part in code if part["commit"]})
    made_by = {"commit": ", ".join(commits) or None, "dirty": any(part["dirty"] for part in code) if commits else None}
    machine = provenance_of_machine()
    machine["hardware"] = " and ".join(sorted({part.get("hardware", machine["hardware"]) for part in code}))
    timing = {"started": started, "seconds": round(seconds, 1)}
    return {"library": version("modules_lib"), **made_by, **machine, **timing}


def is_stitched(about: dict[str, Any]) -> bool:
    """Tell from a run's provenance whether its parts are of several commits or processors."""
    return ", " in (about["commit"] or "") or " and " in about["hardware"]


def origin() -> dict[str, Any]:
    """Find the commit and the processor that make a part of a run now."""
    return {**commit(), "hardware": _hardware()}


def provenance_of_machine() -> dict[str, Any]:
    """Describe software and hardware, as far as they decide a result or a time."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device()),
        "hardware": _hardware(),
        "threads": torch.get_num_threads(),
        "native_bfloat16": native_bfloat16(),  # what precision "auto" goes by
    }


def commit() -> dict[str, Any]:
    """Find the git commit of the checkout, and whether anything in its packages was changed; None outside of git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", *PACKAGES))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _hardware() -> str:
    return torch.cuda.get_device_name() if device().type == "cuda" else processor()


def processor() -> str:
    """Name the processor, with the set of instructions that decides its speed."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        name = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), name
        )
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"
