"""Verdicts: computed from results, by the rule that the claims module states."""

import json

import pandas as pd
import pytest

from modules_lib.__main__ import claims as print_claims
from modules_lib.claims import CLAIMS, Claim, Statement, judge, verdicts
from modules_lib.measures import number

LAYERS = ["input", "hidden 1", "hidden 2", "output", "total"]


def results(seeds=3, jitter=0.001, **changes):
    """Made-up results in which claims 1 to 5 and 16 hold, but for the changed values."""
    values = {
        **{
            ("sharing", task, layer): share
            for task in ("add", "mul")
            for layer, share in zip(LAYERS, (0.9, 0.4, 0.5, 0.8, 0.6), strict=True)
        },
        **{("kept", "add", layer): 100 for layer in LAYERS},
        **{("kept", "mul", layer): 380 for layer in LAYERS},
        **{("correct", stage, task): 1.0 for stage in ("unmasked", "full") for task in ("add", "mul")},
        ("correct", "not add", "mul"): 0.02,
        ("correct", "not mul", "add"): 0.02,
        ("add", "add", "mul"): 0.9,
        ("mul", "mul", "add"): 0.9,
        ("none", "add", "mul"): 0.7,
        ("none", "mul", "add"): 0.7,
    }
    values |= {tuple(key.split("/")): value for key, value in changes.items()}
    rows = []
    for seed in range(seeds):
        for (metric, stage, rest), value in values.items():
            where = {"layer": rest} if metric in ("sharing", "kept") else {"task": rest}
            rows.append(
                {"seed": seed, "stage": stage, "metric": metric, "value": value * (1 + jitter * (seed - 1)), **where}
            )
    frame = pd.DataFrame(rows, columns=["seed", "stage", "layer", "task", "metric", "value"])
    return {"addmul-fnn": frame, "addmul-lstm": frame}


def verdict(number, **arguments):
    claim = next(claim for claim in CLAIMS if claim.id == number)
    return judge(claim, results(**arguments), "laptop")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 16])
def test_claims_hold_on_results_like_the_papers(number):
    assert verdict(number).verdict == "reproduced" and verdict(number).seeds == 3


@pytest.mark.parametrize(
    ("number", "changes", "expected"),
    [
        (1, {"sharing/add/hidden 1": 0.99, "sharing/add/hidden 2": 0.9}, "partly"),
        (1, {f"sharing/{t}/input": 0.1 for t in ("add", "mul")}, "not reproduced"),
        (2, {"kept/mul/total": 190}, "partly"),
        (2, {"kept/mul/total": 90}, "not reproduced"),
        (3, {"mul/mul/add": 0.34}, "partly"),
        (4, {"none/add/mul": 0.95}, "partly"),
        (4, {"none/add/mul": 0.1, "none/mul/add": 0.1}, "not reproduced"),
        (5, {"correct/not add/mul": 0.8}, "partly"),
        (16, {"correct/full/mul": 0.9}, "partly"),
    ],
)
def test_other_results_change_the_verdict(number, changes, expected):
    assert verdict(number, **changes).verdict == expected


def test_a_margin_within_one_deviation_does_not_hold():
    values = pd.Series([0.50, 0.51, 0.55])  # mean margin 0.02, deviation 0.026
    assert not Statement("above 50%", values, values - 0.5).holds
    assert Statement("above 40%", values, values - 0.4).holds
    one = pd.Series([0.51])
    assert Statement("above 50%", one, one - 0.5).holds


def test_empty_masks_make_statements_not_available():
    assert verdict(2, **{"kept/mul/total": 0}).verdict == "not reproduced"
    assert verdict(2, **{"kept/add/total": 0}).verdict == "not reproduced"
    nan = float("nan")
    assert verdict(1, **{f"sharing/{t}/hidden 1": nan for t in ("add", "mul")}).verdict == "not reproduced"


def test_not_available_is_not_held():
    nothing = pd.Series([float("nan")] * 3)
    statement = Statement("x", nothing, nothing)
    assert not statement.holds and statement.measured == "not available"


def test_a_claim_without_results_is_not_run():
    claim = Claim(99, "x", "y", ("addmul-fnn",), lambda results: [])
    empty = {"addmul-fnn": pd.DataFrame(columns=["seed"])}
    assert judge(claim, empty, "laptop").verdict == "not run"
    assert judge(claim, {}, "laptop").verdict == "not run"


def test_only_seeds_that_all_experiments_have_count():
    mixed = results()
    mixed["addmul-lstm"] = mixed["addmul-lstm"][mixed["addmul-lstm"]["seed"] < 2]
    assert judge(CLAIMS[0], mixed, "laptop").seeds == 2


def test_numbers_are_written_with_their_deviation():
    assert number(pd.Series([0.5, 0.7])) == "60.0 ± 14.1%"
    assert number(pd.Series([0.5])) == "50.0%"
    assert number(pd.Series([2.0, 2.0]), "x") == "2.00 ± 0.00x"


def test_all_sixteen_claims_are_listed():
    assert [claim.id for claim in CLAIMS] == list(range(1, 17))
    published = {v.claim.id: v for v in verdicts("laptop")}
    assert all(published[i].verdict != "not run" and published[i].seeds >= 5 for i in (1, 2, 3, 4, 5, 16))
    assert all(published[i].verdict == "not run" for i in range(6, 16))


def test_the_command_prints_a_table_and_json(capsys):
    print_claims()
    table = capsys.readouterr().out
    assert " 1  " in table and "reproduced" in table and "seeds, laptop scale" in table
    print_claims(json=True)
    listed = json.loads(capsys.readouterr().out)
    assert [set(row) for row in listed] == [{"id", "claim", "paper", "ours", "seeds", "scale", "verdict"}] * 16
    assert {row["verdict"] for row in listed} <= {"reproduced", "partly", "not reproduced", "not run"}
