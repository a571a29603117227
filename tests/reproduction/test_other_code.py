"""Numbers of another program beside the published ones, and how often chance alone makes a difference."""

import io

import numpy as np
import pandas as pd
import pytest

from reproduction.experiments import preset
from reproduction.runs.other_code import MEASURED, PLACE, beside, quantities, read, report, template
from reproduction.runs.published import published

OURS = quantities(published(preset("addmul-fnn")))


def test_kept_weights_are_compared_as_proportions():
    assert OURS["value"].between(0, 1).all() and set(OURS["metric"]) == set(MEASURED)
    output = OURS[(OURS["stage"] == "mul") & (OURS["layer"] == "output") & (OURS["metric"] == "kept")]
    assert len(output) == 5 and 0.2 < output["value"].mean() < 0.9


def test_a_template_filled_with_our_own_numbers_agrees(tmp_path):
    rows = pd.read_csv(io.StringIO(template(OURS)), keep_default_na=False)
    assert list(rows.columns) == [*PLACE, "seed", "value"] and len(rows) == len(OURS[PLACE].drop_duplicates())
    path = tmp_path / "theirs.csv"
    OURS.to_csv(path, index=False)
    table = beside(OURS, read(path))
    assert (table["ours"] == table["theirs"]).all() and (table["p"].dropna() > 0.99).all()
    assert report(table).endswith(f"0 of {len(table)} differ at the 5% level; by chance alone about 4 would.")


def test_one_number_in_twenty_differs_by_chance():
    """600 tests at 5%, of sets of 5 and of 1 or 3: 30 false alarms, with a deviation of 5.3; four are allowed."""
    generator, columns = np.random.default_rng(0), [*PLACE, "seed"]
    for m in (1, 3):
        ours, theirs = (
            pd.DataFrame([(*[f"x{i}"] * len(PLACE), seed) for i in range(600) for seed in range(n)], columns=columns)
            for n in (5, m)
        )
        for table in (ours, theirs):
            table["value"] = generator.normal(0.5, 0.1, len(table))
        assert len(both := beside(ours, theirs)) == 600 and 9 <= (both["p"] < 0.05).sum() <= 51


def test_what_cannot_be_compared_is_a_sentence(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("stage,layer,task,metric,value\nadd,input,,kept,54\n")
    with pytest.raises(ValueError, match="has the value 54; each must be a proportion, from 0 to 1"):
        read(path)
    path.write_text("stage,layer,metric,value\nadd,input,kept,0.5\n")
    with pytest.raises(ValueError, match="has no column 'task'"):
        read(path)
    path.write_text("stage,layer,task,metric,value\nsubtract,input,,kept,0.5\n")
    with pytest.raises(ValueError, match="No number given is of a stage, layer, task and metric"):
        beside(OURS, read(path))


def test_the_command_prints_the_rows_to_fill_in_and_the_comparison(reproduction, tmp_path):
    printed = reproduction("compare", "addmul-fnn")
    assert printed.returncode == 0 and printed.stdout.startswith("stage,layer,task,metric,seed,value\n")
    path = tmp_path / "theirs.csv"
    path.write_text("stage,layer,task,metric,value\nadd,input,,kept,0.54\nmul,output,,kept,0.43\n")
    printed = reproduction("compare", "addmul-fnn", "--theirs", str(path))
    assert printed.returncode == 0 and "54.0%" in printed.stdout and "of 2 differ at the 5% level" in printed.stdout
    missing = reproduction("compare", "addmul-fnn", "--theirs", str(tmp_path / "none.csv"))
    assert missing.returncode == 1 and "none.csv" in missing.stderr and "Traceback" not in missing.stderr
    without = reproduction("compare", "addmul-fnn", "--beta", "0.7")
    assert "No run of addmul-fnn with these settings is published" in without.stderr
