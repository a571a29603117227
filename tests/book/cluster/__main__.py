"""The smoke grid here and on a Slurm cluster, one node of which dies in the middle: the results are the same."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from reproduction.runs import store as runs
from tests.book.cluster.slurm import Cluster
from tests.conftest import ROOT

GRID = ["--config", "scale=smoke", "seeds=4"]
# As in the README, but for what is special here: one host, no accounting, two small nodes.
SLURM = ["--workflow-profile", "profiles/slurm", "--group-components", "runs=2", "--slurm-status-command", "squeue"]
SLURM += ["--slurm-init-seconds-before-status-checks", "5", "--slurm-no-account", "--latency-wait", "10"]


def grid(folder: Path, *options: str) -> subprocess.Popen:
    environment = os.environ | {"MODULES_RUNS": str(folder), "MODULES_CHECKPOINT": "1"}
    command = [sys.executable, "-m", "snakemake", "runs", *GRID, *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def results(folder: Path) -> dict[str, tuple]:
    """What must not depend on where a run was made, by the run's name."""
    found = runs.stored(folder)
    assert not [problem for run in found for problem in run.damage()]
    stages = ("full", "add", "mul")
    return {run.name: (run.config(), run.metrics(), *(run.masks(stage) for stage in stages)) for run in found}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="modules-cluster-") as temporary:
        folder = Path(temporary)
        assert grid(folder / "here").wait() == 0
        with Cluster(folder / "slurm") as cluster:
            there = grid(folder / "there", *SLURM)
            cluster.wait_for(lambda: cluster.running_on("n2"), "a job on the second node", 120)
            threading.Event().wait(3)
            print("-- the second node dies --", flush=True)
            cluster.kill_node("n2")
            code = there.wait(600)
            print(cluster.say("sinfo"))
        here, there_ = results(folder / "here"), results(folder / "there")
        assert code == 0 and here.keys() == there_.keys() and len(here) == 8
        assert all(here[name] == there_[name] for name in here)
    print(f"{len(here)} runs, the same here and on the cluster")


if __name__ == "__main__":
    main()
