"""Where runs, results and data are kept: beside the library, or where an environment variable points."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository, where the library is used from one


def folder(name: str) -> Path:
    """Find the folder of this name beside the library, or where the environment variable ``MODULES_<NAME>`` says."""
    return Path(os.environ.get(f"MODULES_{name.upper()}") or ROOT / name).resolve()
