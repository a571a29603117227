"""Runs that fail or whose process is killed: all others are made, the reason is kept, and they are tried again."""

import json
import os
import signal
from dataclasses import dataclass

import pytest

from modules_lib.training.progress import Progress
from reproduction.experiments.addmul import AddMul
from reproduction.notebook import own_runs
from reproduction.runs import store as runs
from reproduction.runs import tables
from reproduction.runs.execute import FailedRunsError, execute, execute_each
from reproduction.runs.make import make

TINY = {"hidden": (16,), "batch": 16, "weight_steps": 6, "mask_steps": 4}
GOOD = AddMul(**TINY)


@dataclass(frozen=True, kw_only=True)
class Spoiled(AddMul):
    """A run whose stage *mul* raises an error, or kills its process so often."""

    kills: int = 0

    def find_masks(self, model, seed, stage, progress, made=None):
        if stage == "mul" and not self.kills:
            raise OSError("no mul <today>\nand a second line")
        if stage == "mul" and len(list(runs.runs_folder().glob("killed-*"))) < self.kills:
            runs.runs_folder().joinpath(f"killed-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().find_masks(model, seed, stage, progress, made)


BAD = Spoiled(**TINY, beta=2e-4)


def test_all_others_are_made_and_the_error_names_those_that_failed():
    with pytest.raises(FailedRunsError) as failed:
        execute([BAD, GOOD], 2)
    assert str(failed.value) == "addmul-fnn seed 0, addmul-fnn seed 1 failed: no mul <today>"
    assert set(failed.value.reasons) == {(BAD, 0), (BAD, 1)}
    assert [run.seed for run in runs.stored(runs.runs_folder())] == [0, 1] and runs.find(GOOD, 1)
    assert not runs.lock(BAD, 0).is_locked
    runs.lock(BAD, 0).acquire(timeout=1)  # nothing of it goes on


def test_the_store_keeps_the_reason_until_the_run_is_tried_again(monkeypatch):
    with pytest.raises(FailedRunsError):
        execute(BAD)
    assert runs.failure(BAD, 0) == "no mul <today>" and runs.failure(GOOD, 0) == ""
    assert "failed: no mul <today>" in set(tables.store()["settings"])
    monkeypatch.setattr(Spoiled, "find_masks", AddMul.find_masks)
    runs.folder_of(BAD, 0).with_name("seed-0.partial").rename(runs.runs_folder() / "kept")
    in_process = pytest.MonkeyPatch()
    in_process.setattr("reproduction.runs.pool.Training.to_the_end", lambda training: [j.take() for j in training.jobs])
    execute(BAD)  # as far as the beginning of the next attempt
    in_process.undo()
    assert runs.failure(BAD, 0) == "" and "failed" not in "".join(tables.store().get("settings", []))


@pytest.mark.parametrize(("kills", "made"), [(1, True), (2, False)])
def test_a_process_that_is_killed_is_tried_once_more_alone(kills, made):
    killed = Spoiled(**TINY, kills=kills)
    try:
        execute_each([(killed, 0), (GOOD, 0), (GOOD, 1)], at_once=2)
    except FailedRunsError as error:
        assert not made and list(error.reasons) == [(killed, 0)]
        assert "its process was killed twice, often because memory ran out" in str(error)
    assert bool(runs.find(killed, 0)) == made
    assert runs.find(GOOD, 0) and runs.find(GOOD, 1)
    assert len(list(runs.runs_folder().glob("killed-*"))) == kills


@pytest.fixture
def shown(monkeypatch):
    """What a chapter shows: (bundle, metadata) of every output."""
    outputs = []
    monkeypatch.setattr(own_runs, "display", lambda bundle, raw, metadata: outputs.append((bundle, metadata)))
    return outputs


def test_a_chapter_has_the_runs_that_there_are_and_a_sentence_for_the_others(shown, monkeypatch):
    made, run = own_runs.own_runs({"good": GOOD, "bad": BAD}, 2)
    assert [one.seed for one in made["good"]] == [0, 1] and made["bad"] == [] and list(run) == ["good"]
    [(bundle, metadata)] = shown
    sentence = "addmul-fnn seed 0, addmul-fnn seed 1 failed: no mul <today>"
    assert metadata == {"missing": sentence} and bundle["text/plain"] == sentence
    assert "no mul &lt;today&gt;" in bundle["text/html"]
    monkeypatch.setenv("MODULES_TRAIN", "untried")  # a chapter of a book in which it has just failed
    monkeypatch.setattr("reproduction.runs.pool.Training.to_the_end", None)
    again, _ = own_runs.own_runs({"good": GOOD, "bad": BAD}, 2)
    assert again == made and shown[1] == shown[0]


def test_to_read_runs_are_loaded_and_none_is_made(shown, monkeypatch):
    execute(GOOD)
    monkeypatch.setenv("MODULES_TRAIN", "never")
    made, run = own_runs.own_runs({"good": GOOD, "bad": BAD})
    assert len(made["good"]) == 1 and not made["bad"] and list(run) == ["good"]
    [(bundle, metadata)] = shown
    assert metadata == {} and "<code>make book</code>" in bundle["text/html"] and "`" not in bundle["text/html"]
    assert own_runs.own_verdicts({}, GOOD, 1) is None and own_runs.own_verdicts(run, GOOD, 3) is not None


def test_a_run_that_is_made_at_last_has_not_failed():
    runs.folder_of(GOOD, 0).parent.mkdir(parents=True)
    runs.record_failure(GOOD, 0, "no room")
    make(GOOD, 0, Progress())
    assert runs.find(GOOD, 0) and runs.failure(GOOD, 0) == ""


def test_provenance_says_where_the_examples_come_from():
    [run] = execute(GOOD)
    assert json.loads((run.folder / "provenance.json").read_text())["data"] == "computed examples"
