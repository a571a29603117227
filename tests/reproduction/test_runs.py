"""The run store and the making of runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from reproduction.experiments import preset
from reproduction.experiments.addmul import AddMul
from reproduction.protocol.stage import SAMPLED
from reproduction.runs import published as results
from reproduction.runs import store as runs
from reproduction.runs.execute import execute
from reproduction.runs.measurements import COLUMNS
from reproduction.runs.sealing import seal

TINY = AddMul(hidden=(16,), batch=16, weight_steps=6, mask_steps=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two seeds of a tiny run, made by worker processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODULES_RUNS", str(tmp_path_factory.mktemp("finished")))
        return execute(TINY, 2)


@pytest.fixture
def store(finished, tmp_path, monkeypatch):
    """A copy of the store that a test may damage."""
    folder = tmp_path / "copy"
    shutil.copytree(finished[0].folder.parents[2], folder)
    monkeypatch.setenv("MODULES_RUNS", str(folder))
    return folder


def test_a_run_holds_what_decided_and_what_came_out(store):
    run = runs.find(TINY, 0)
    assert (run.experiment, run.seed) == ("addmul-fnn", 0)
    assert run.config()["mask_steps"] == 4 and run.config()["experiment"] == "addmul-fnn"
    provenance = run.provenance()
    assert {"library", "commit", "dirty", "torch", "device", "hardware", "threads", "started", "seconds"} <= set(
        provenance
    )
    assert provenance["threads"] == 1
    model = run.load_weights(TINY.model())
    assert runs.Masks.load(run.folder / "masks" / "add.safetensors", model) == run.masks("add")
    measured = TINY.measure(model, {stage: run.masks(stage) for stage in TINY.stages})
    kept = [row for row in run.metrics() if "step" not in row and "bin" not in row and row.get("stage") != SAMPLED]
    assert sorted(map(written, kept)) == sorted(map(written, measured))
    frame = results.table([run])
    histogram = frame[frame["metric"] == "probability"]
    size = run.masks("add").size()
    assert (histogram.groupby("stage")["value"].sum() == size).all() and set(histogram["stage"]) == set(TINY.stages)


def test_a_finished_run_is_not_made_again(store):
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    first, second = execute(TINY, 2)
    assert (first.seed, second.seed) == (0, 1) and first.metrics() != second.metrics()
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}


def test_the_table_is_tidy(store):
    frame = results.table(runs.stored(store))
    assert tuple(frame.columns) == COLUMNS
    assert set(frame["seed"]) == {0, 1} and set(frame["config"]) == {TINY.hash()}
    assert frame["value"].dtype == np.float64
    assert results.table([]).empty


def test_saving_never_overwrites_a_run(store):
    run = runs.find(TINY, 0)
    before = run.metrics()
    runs.save(TINY, 0, TINY.model(), {}, [{"stage": "x", "metric": "y", "value": 1}], {})
    assert runs.find(TINY, 0).metrics() == before
    assert not [path for path in run.folder.parent.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]


READERS = {
    "config.json": lambda run: run.config(),
    "metrics.jsonl": lambda run: run.metrics(),
    "provenance.json": lambda run: run.provenance(),
    "weights.safetensors": lambda run: run.load_weights(TINY.model()),
    "masks/add.safetensors": lambda run: run.masks("add"),
    "checksums.json": lambda run: run.metrics(),
}


def damage(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "of another run":
        path.write_bytes(Path(str(path).replace("/seed-0/", "/seed-1/")).read_bytes())
    else:
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        path.write_bytes({"truncated": content[: len(content) // 2], "emptied": b"", "flipped": bytes(flipped)}[how])


DAMAGES = ("truncated", "emptied", "flipped", "missing", "a folder", "of another run")
SAME = {("config.json", "of another run"), ("provenance.json", "of another run")}  # or may be, in two seeds


@pytest.mark.parametrize(("name", "how"), [(n, h) for n in READERS for h in DAMAGES if (n, h) not in SAME])
def test_a_damaged_file_is_named_never_read_and_made_again(store, name, how):
    run = runs.find(TINY, 0)
    damage(run.folder / name, how)
    with pytest.raises(ValueError, match=f"{run.folder / name} is damaged .*; move .* away and run it again"):
        READERS[name](run)
    assert run.damage() and not runs.find(TINY, 1).damage()
    with pytest.warns(UserWarning, match=f"{name} is damaged.*moved to .*damaged.* made again"):
        runs.set_aside_if_damaged(TINY, 0)
    runs.set_aside_if_damaged(TINY, 1)
    assert not runs.find(TINY, 0) and runs.find(TINY, 1)
    assert [path for path in run.folder.parent.iterdir() if "seed-0.damaged" in path.name]  # nothing is deleted
    assert [run.seed for run in runs.stored(store)] == [1]


def test_a_damaged_run_is_made_again(store):
    run = runs.find(TINY, 0)
    sound = run.metrics()
    damage(run.folder / "metrics.jsonl", "flipped")
    with pytest.warns(UserWarning, match="made again"):
        again = execute(TINY, 1)[0]
    assert again.metrics() == sound and not again.damage()


def test_a_folder_that_was_renamed_is_not_the_run_it_says(store):
    run = runs.find(TINY, 0)
    run.folder.rename(run.folder.with_name("seed-7"))
    with pytest.raises(ValueError, match="it belongs to addmul-fnn/.*/seed-0"):
        runs.find(TINY, 7).metrics()


def written(row):
    return json.dumps(row, sort_keys=True)


def _with_provenance(run, **changes):
    (run.folder / "provenance.json").write_text(json.dumps(run.provenance() | changes))
    seal(run.folder, run.name)
    return run


def test_publishing_copies_text_and_refuses_to_change_it(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    found = runs.stored(store)
    for run in found:
        with pytest.raises(ValueError, match="changes that no commit has"):
            results.publish([_with_provenance(run, dirty=True)])
        _with_provenance(run, dirty=False)
    assert len(results.publish(found)) == 2 and results.publish(found) == []
    published = runs.stored(tmp_path / "results")
    assert sorted(path.name for path in published[0].folder.iterdir()) == [
        "checksums.json",
        "config.json",
        "metrics.jsonl",
        "provenance.json",
    ]
    assert results.published(TINY).equals(results.table(published))
    assert results.published(preset("addmul-fnn")).empty
    (published[0].folder / "metrics.jsonl").write_text(json.dumps({"stage": "x", "metric": "y", "value": 1}) + "\n")
    seal(published[0].folder, published[0].name)
    with pytest.raises(ValueError, match="published with other numbers"):
        results.publish(found)


def test_masks_are_added_to_a_run_that_is_published_without_them(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    found = [_with_provenance(run, dirty=False) for run in runs.stored(store)]
    results.publish(found)
    [target] = results.publish(found, ["add"])
    assert target.name == "seed-0" and results.publish(found, ["add"]) == []
    published = runs.Run(target)
    lines = (target / "metrics.jsonl").read_text().splitlines()
    (target / "metrics.jsonl").write_text("\n".join(reversed(lines)) + "\n")  # the order does not matter
    seal(target, published.name)
    assert results.publish(found, ["add"]) == []
    assert published.damage() == [] and published.masks("add") == found[0].masks("add")
    assert len(list(target.parent.iterdir())) == 2


def test_columns_of_earlier_versions_are_read_under_the_names_of_today(store):
    run = runs.stored(store)[0]
    rows = [
        {"stage": "full", "task": "cat", "metric": "confusion", "bin": 5, "value": 0.5},
        {"stage": "full", "metric": "correct by length", "bin": 22, "value": 0.5},
        {"stage": "full", "metric": "probability", "bin": 7, "value": 3},
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seal(run.folder, run.name)
    assert run.metrics() == [
        {"stage": "full", "task": "cat", "metric": "confusion", "predicted": "dog", "value": 0.5},
        {"stage": "full", "metric": "correct by length", "length": 22, "value": 0.5},
        {"stage": "full", "metric": "probability", "bin": 7, "value": 3},
    ]


def test_damaged_numbers_are_not_published(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    run = _with_provenance(runs.find(TINY, 0), dirty=False)
    damage(run.folder / "metrics.jsonl", "flipped")
    with pytest.raises(ValueError, match="metrics.jsonl is damaged"):
        results.publish([run])
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]


def test_results_do_not_depend_on_what_runs_beside(finished, monkeypatch, tmp_path):
    monkeypatch.setenv("MODULES_RUNS", str(tmp_path / "alone"))
    alone = execute(TINY, [1])[0]
    assert alone.metrics() == finished[1].metrics()
    assert torch.equal(
        alone.load_weights(TINY.model()).layers[0].weight, finished[1].load_weights(TINY.model()).layers[0].weight
    )


@pytest.mark.parametrize("seeds", [0, -1, [], [-1], True, [0.5], 1.5, None, "2"])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds? is"):
        execute(TINY, seeds)


def test_a_store_that_cannot_be_written_is_found_before_training(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("MODULES_RUNS", str(blocked))
    with pytest.raises(ValueError, match="Runs cannot be stored in .*file.*MODULES_RUNS"):
        execute(TINY, 1)


def test_a_run_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    folder = runs.folder_of(TINY, 0)
    folder.parent.mkdir(parents=True)
    folder.with_name("seed-0.partial").write_text("a file where a folder should be")
    with pytest.raises(RuntimeError, match="addmul-fnn seed 0 failed: .*weights.checkpoint cannot be written"):
        execute(TINY, 1)
    assert runs.stored(tmp_path / "runs") == []


def test_published_results_are_what_the_code_makes(tmp_path, monkeypatch):
    """The cheapest published run of each experiment, made again here.

    Another processor may round differently, and a few dozen steps of training amplify that a little; a changed
    algorithm changes far more.
    """
    for name in ("addmul-fnn", "addmul-lstm"):
        config = preset(name, "smoke")
        published = results.published(config)
        assert len(published) > 100
        again = results.table(execute(config, 1))
        # A logit that is rounded otherwise falls into another bin.
        again, published = (frame[frame["metric"] != "probability"] for frame in (again, published))
        keys = ["stage", "layer", "task", "metric", "step"]
        assert again.reset_index(drop=True)[keys].equals(published.reset_index(drop=True)[keys])
        here, there = again["value"].to_numpy(), published["value"].to_numpy()
        counts = (again["metric"] == "kept").to_numpy()
        np.testing.assert_allclose(here[counts], there[counts], rtol=0.02, atol=3)
        np.testing.assert_allclose(here[~counts], there[~counts], atol=0.03)
