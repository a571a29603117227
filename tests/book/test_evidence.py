"""The queue of runs at the paper's sizes: its order, what is left of it, and that no run is made by two commits."""

import json
import re
from collections import Counter

import pytest

from reproduction.experiments import EXPERIMENTS, preset
from reproduction.runs import store as runs
from reproduction.runs.provenance import is_stitched, origin, provenance
from reproduction.runs.published import publish
from tests.conftest import run_module
from tools.evidence import left, lines, report

SETTINGS = {"hidden": [8], "weight_steps": 3, "mask_steps": 2}


def queue(folder):
    """A queue of three small runs, the last of which can be made first."""
    path = folder / "queue.yaml"
    asked = [
        {"experiment": name, "seeds": seeds, **SETTINGS}
        for name, seeds in (("addmul-fnn", [3, 1]), ("double-fnn", [0]))
    ]
    path.write_text(json.dumps({"scale": "smoke", "queue": asked}))
    return path


def snakemake(path, folder, *options):
    places = {"MODULES_OUTPUT": folder, "MODULES_RUNS": folder / "runs", "MODULES_RESULTS": folder / "results"}
    outside_of_git = {"GIT_DIR": folder / "none"}  # where nothing is known of changes that no commit has
    settings = {name: str(value) for name, value in (places | outside_of_git).items()}
    return run_module("snakemake", "evidence", "--configfile", str(path), "--cores", "1", *options, **settings)


OURS = {name for name in EXPERIMENTS if name.startswith(("again-", "cifar10-"))} | {
    "capacity-tiny",
    "samplers",
    "reuse",
}


def test_the_queue_has_every_experiment_of_the_paper_and_no_run_twice():
    asked = Counter((config.experiment, config.hash(), seed) for config, seeds in lines() for seed in seeds)
    assert set(asked.values()) == {1}
    assert {name for name, _, _ in asked} == set(EXPERIMENTS) - OURS


def test_runs_are_made_in_the_order_of_the_queue_and_published(tmp_path, monkeypatch):
    path = queue(tmp_path)
    made = snakemake(path, tmp_path)
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    published = {(run.experiment, run.seed): run for run in runs.stored(tmp_path / "results")}
    assert set(published) == {("addmul-fnn", 1), ("addmul-fnn", 3), ("double-fnn", 0)}
    assert not any(run.damage() for run in published.values())
    times = {key: run.provenance()["started"] for key, run in published.items()}
    assert times["double-fnn", 0] >= max(times["addmul-fnn", seed] for seed in (1, 3))
    rows = left(path)
    assert [(row["seeds"], row["published"], row["hours"]) for row in rows] == [(2, 2, 0.0), (1, 1, 0.0)]
    again = snakemake(path, tmp_path, "--dry-run")
    assert "run_0" not in again.stdout + again.stderr


def test_what_is_left_is_estimated_from_published_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    path = queue(tmp_path)
    assert [row["hours"] for row in left(path)] == [None, None]
    assert re.search(r"0 hours of one core are left, and those of 2 lines that nobody has timed", report(left(path)))
    config = preset("addmul-fnn", "smoke", **{**SETTINGS, "weight_steps": 4})  # ten steps, as against nine
    model = config.model()
    about = provenance([], "2026-01-01", 7200.0) | {"dirty": False}
    publish([runs.save(config, 0, model, {}, [{"stage": "full", "metric": "correct", "value": 1.0}], about)])
    first, second = left(path)
    assert first["hours"] == pytest.approx(2 * 2.0 * 9 / 10) and second["hours"] is None


def test_checkpoints_of_another_commit_or_processor_are_moved_aside(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "runs"))
    config, here = preset("addmul-fnn", "smoke"), origin()

    def begin(code):
        kept = runs.checkpoint(config, 0, "weights")
        kept.save({"steps": 1, "rows": [], "started": "2026-01-01", "seconds": 1.0, "code": code}, {})
        return kept.files[0]

    assert runs.set_aside_if_of_another(config, 0, here) is None
    kept = begin([here])
    assert runs.set_aside_if_of_another(config, 0, here) is None and kept.exists()
    for other in ({**here, "commit": "0" * 40}, {**here, "hardware": "another"}):
        begin([here, other])
        aside = runs.set_aside_if_of_another(config, 0, here)
        assert not kept.exists() and (aside / kept.name).exists()
    begin([{**here, "commit": "0" * 40}])
    with runs.lock(config, 0):  # another process makes it now
        assert runs.set_aside_if_of_another(config, 0, here) is None and kept.exists()


def test_a_run_of_several_commits_is_known_by_its_provenance():
    here = {**origin(), "commit": "a" * 40, "dirty": False}
    assert not is_stitched(provenance([here], "2026-01-01", 1.0))
    assert is_stitched(provenance([here, {**here, "commit": "b" * 40}], "2026-01-01", 1.0))
    assert is_stitched(provenance([here, {**here, "hardware": "another"}], "2026-01-01", 1.0))
