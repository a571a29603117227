"""Measurements are stored as series, and none is lost or changed by it."""

import json

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from reproduction.runs import store as runs
from reproduction.runs.measurements import packed, tabulated, unpacked
from reproduction.runs.published import results_folder
from reproduction.runs.sealing import seal
from tests.conftest import run_module

numbers = st.one_of(st.none(), st.integers(0, 10**6), st.floats(-10, 10, allow_nan=False))
rows = st.lists(
    st.fixed_dictionaries(
        {
            "stage": st.sampled_from(["full", "add"]),
            "metric": st.sampled_from(["kept", "probability"]),
            "value": numbers,
        },
        optional={
            "layer": st.sampled_from([None, "hidden 1", "total"]),
            "task": st.sampled_from(["add", "mul"]),
            "step": st.integers(0, 9),
            "bin": st.integers(0, 9),
            "length": st.integers(1, 9),
            "predicted": st.sampled_from(["cat", "dog"]),
        },
    ),
    max_size=30,
)


def written(rows):
    """What JSON keeps of them, in an order of its own."""
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@given(rows)
def test_packed_and_unpacked_measurements_are_the_same(rows):
    assert written(unpacked(json.loads(json.dumps(packed(rows))))) == written(rows)


@given(rows)
def test_a_table_has_every_measurement_whether_stored_as_a_series_or_alone(rows):
    about = {"experiment": "scan", "config": "0123456789", "seed": 3}
    stored = packed(rows)
    frame = tabulated([(about, stored), (about, unpacked(stored))])
    series, alone = frame.iloc[: len(rows)], frame.iloc[len(rows) :].reset_index(drop=True)
    pd.testing.assert_frame_equal(series, alone)
    found = [{name: value for name, value in row.items() if value == value} for row in alone.to_dict("records")]
    there = [{name: value for name, value in (about | row).items() if value is not None} for row in unpacked(stored)]
    assert found == there


def test_a_histogram_and_a_curve_are_a_row_each():
    histogram = [{"stage": "full", "metric": "probability", "bin": i, "value": 7} for i in (0, 1, 2, 4)]
    curve = [{"stage": "full", "step": i, "metric": "curve loss", "value": i / 2} for i in (1, 11)]
    assert packed(histogram + curve) == [
        {"stage": "full", "metric": "probability", "bin": "0-2,4", "value": [7, 7, 7, 7]},
        {"stage": "full", "metric": "curve loss", "step": [1, 11], "value": [0.5, 5.5]},
    ]
    assert unpacked(packed(histogram + curve)) == histogram + curve
    assert packed([{"metric": "kept", "value": float("nan")}]) == [{"metric": "kept", "value": [None]}]


def test_published_runs_are_small():
    sizes = [(run.folder / "metrics.jsonl").stat().st_size for run in runs.stored(results_folder())]
    assert sum(sizes) / len(sizes) < 25_000


def test_old_results_are_written_anew_by_a_command(tmp_path):
    folder = tmp_path / "addmul-fnn/0123456789/seed-0"
    folder.mkdir(parents=True)
    old = [{"stage": "full", "metric": "probability", "bin": i, "value": i} for i in range(500)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    (folder / "config.json").write_text("{}")
    (folder / "provenance.json").write_text("{}")
    seal(folder, "addmul-fnn/0123456789/seed-0")
    run = runs.Run(folder)
    assert run.metrics() == old
    result = run_module("tools.repack", str(tmp_path))
    assert result.returncode == 0 and result.stdout.startswith("1 runs, "), result.stderr
    assert run.damage() == [] and run.metrics() == old
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1
    (folder / "metrics.jsonl").write_text("{}")
    assert "is damaged" in run_module("tools.repack", str(tmp_path)).stderr
