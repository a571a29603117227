"""What several tests share: single-threaded torch, and the book built once at smoke scale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Results must not depend on how many cores the machine has, those of fixtures neither."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """Tests neither see nor leave anything in the user's run store."""
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "runs"))


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m ARGUMENTS`` in the repository's root, with extra environment variables."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="session")
def built_book(tmp_path_factory) -> Path:
    """The HTML of the whole book, trained, executed and rendered at smoke scale."""
    folder = tmp_path_factory.mktemp("book")
    environment = {"MODULES_OUTPUT": str(folder), "MODULES_RUNS": str(folder / "runs")}
    result = run_module("tools.book", "build", "--scale", "smoke", **environment)
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    return folder / "_build/html"
