"""Verdicts: computed from results, by the rule that the claims module states."""

import json

import numpy as np
import pandas as pd
import pytest

from reproduction.__main__ import claims as print_claims
from reproduction.claims import CLAIMS, VERDICTS, Claim, Statement, judge, summary, verdicts
from reproduction.claims.statement import bounds
from reproduction.protocol.stage import SAMPLED
from reproduction.runs.measures import SPLIT_NAMES, number

LAYERS = ["input", "hidden 1", "hidden 2", "output", "total"]
HISTOGRAM = {("probability", "full", place): number for place, number in ((0, 1000), (250, 5), (499, 100))}


def shares(tasks, values):
    return {("sharing", t, layer): value for t in tasks for layer, value in zip(LAYERS, values, strict=True)}


ADDMUL = {
    **shares(("add", "mul"), (0.9, 0.4, 0.5, 0.8, 0.6)),
    **{("kept", "add", layer): 100 for layer in LAYERS},
    **{("kept", "mul", layer): 380 for layer in LAYERS},
    **{("correct", stage, task): 1.0 for stage in ("unmasked", "full", SAMPLED) for task in ("add", "mul")},
    ("correct", "not add", "mul"): 0.02,
    ("correct", "not mul", "add"): 0.02,
    ("add", "add", "mul"): 0.9,
    ("mul", "mul", "add"): 0.9,
    ("none", "add", "mul"): 0.7,
    ("none", "mul", "add"): 0.7,
    **HISTOGRAM,
}
DOUBLE = {
    **shares(("pair-1", "pair-2"), (0.0, 0.2, 0.1, 0.0, 0.1)),
    **{("correct", stage, pair): 1.0 for stage in ("unmasked", "full", SAMPLED) for pair in ("pair-1", "pair-2")},
    ("correct", "not pair-1", "pair-2"): 0.97,
    ("correct", "not pair-2", "pair-1"): 0.97,
    **HISTOGRAM,
}
SWEEP = {
    **{("correct", "unmasked", task): 1.0 for task in ("add", "mul")},
    **{("correct", f"full@{f}", task): 0.99 for f in ("0.1", "0.316", "1", "3.16") for task in ("add", "mul")},
    **{("correct", "full@10", task): 0.7 for task in ("add", "mul")},
    **{("sharing", f"add@{f}", "total"): 0.4 for f in ("0.1", "0.316", "1", "3.16", "10")},
}
SCAN = {
    **{("correct", stage, task): 1.0 for stage in ("unmasked", "full") for task in SPLIT_NAMES},
    **{("correct", s, s): v for s, v in {"simple": 1.0, "add-jump": 0.4, "length": 0.2, "add-turn-left": 0.95}.items()},
    **{("needed", stage, token): 100 for stage in ("any split", "full") for token in ("I_WALK", "I_JUMP", "end")},
    **{("needed", "add-jump", token): 95 for token in ("I_WALK", "end")},
    ("needed", "add-jump", "I_JUMP"): 20,
}
PAPERS = {
    "scan": SCAN,
    **{f"addmul-{network}": ADDMUL for network in ("fnn", "lstm")},
    **{f"double-{network}": DOUBLE for network in ("fnn", "lstm", "lstm-apart")},
    **{f"sweep-{size}": SWEEP for size in ("small", "large")},
    **{
        f"capacity-{size}": {("sharing", "add", "total"): share}
        for size, share in {"tiny": 0.9, "small": 0.8, "medium": 0.7}.items()
    },
}


SWEEP_FACTORS = ("0.1", "0.316", "1", "3.16", "10")


def results(seeds=3, jitter=0.001, experiment="addmul", **changes):
    """Made-up results in which all claims hold, but for the changed values of the experiments of that name."""
    keys = {key: tuple(int(part) if part.isdigit() else part for part in key.split("/")) for key in changes}
    changes = {keys[key]: value for key, value in changes.items()}
    return {
        name: table(values | (changes if name.startswith(experiment) else {}), seeds, jitter)
        for name, values in PAPERS.items()
    }


def table(values, seeds, jitter):
    places = {"sharing": "layer", "kept": "layer", "probability": "bin"}
    rows = [
        {"seed": seed, "stage": stage, "metric": metric, places.get(metric, "task"): rest, "value": value * factor}
        for seed in range(seeds)
        for factor in [1 + jitter * (seed - 1)]
        for (metric, stage, rest), value in values.items()
    ]
    return pd.DataFrame(rows, columns=["seed", "stage", "layer", "task", "metric", "bin", "value"])


def verdict(number, **arguments):
    claim = next(claim for claim in CLAIMS if claim.id == number)
    return judge(claim, results(**arguments), "laptop")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 16, 20, 21])
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
        (6, {"experiment": "double", "correct/not pair-1/pair-2": 0.5}, "partly"),
        (6, {"experiment": "double", **{f"sharing/pair-{i}/total": 0.9 for i in (1, 2)}}, "partly"),
        (7, {"experiment": "double-lstm-apart", "correct/not pair-1/pair-2": 0.5}, "partly"),
        (7, {"experiment": "double-lstm-apart", "sharing/pair-1/total": 0.6}, "partly"),
        (8, {"experiment": "scan", "correct/length/length": 0.85}, "partly"),
        (8, {"experiment": "scan", "correct/add-turn-left/add-turn-left": 0.7}, "partly"),
        (9, {"experiment": "scan", "needed/add-jump/I_JUMP": 60}, "partly"),
        (9, {"experiment": "scan", "needed/add-jump/end": 10}, "partly"),
        (9, {"experiment": "scan", "needed/add-jump/I_JUMP": 96}, "not reproduced"),
        (12, {"experiment": "addmul", "probability/full/250": 200}, "partly"),
        (13, {"experiment": "sweep-small", "correct/full@3.16/mul": 0.8}, "partly"),
        (13, {"experiment": "sweep-small", "sharing/add@0.316/total": 0.8}, "partly"),
        (13, {"experiment": "sweep-large", **{f"correct/full@{f}/mul": 0.8 for f in ("1", "3.16")}}, "partly"),
        (13, {"experiment": "sweep", **{f"correct/full@{f}/mul": 0.0 for f in SWEEP_FACTORS}}, "partly"),
        (14, {"experiment": "capacity-medium", "sharing/add/total": 0.3}, "partly"),
        (20, {"experiment": "addmul-lstm", "correct/full, sampled/mul": 0.9}, "partly"),
        (21, {"experiment": "double-lstm-apart", **{f"sharing/pair-{i}/hidden 1": 0.9 for i in (1, 2)}}, "partly"),
    ],
)
def test_other_results_change_the_verdict(number, changes, expected):
    assert verdict(number, **changes).verdict == expected


def above(threshold, *values):
    return Statement(f"above {threshold}", pd.Series(values), pd.Series(values) - threshold)


def test_a_statement_holds_or_fails_by_the_bounds_of_its_mean():
    """Of 0.50, 0.51, 0.55 the mean is 0.52, its standard error 0.0153, and Student's t at 95% with 2 degrees 2.920."""
    assert bounds(pd.Series([0.50, 0.51, 0.55])) == pytest.approx(
        (0.52 - 2.92 * 0.015275, 0.52 + 2.92 * 0.015275), abs=1e-4
    )
    outcomes = [above(threshold, 0.50, 0.51, 0.55).outcome for threshold in (0.47, 0.5, 0.55, 0.57)]
    assert outcomes == ["holds", "undecided", "undecided", "fails"]
    assert above(0.5, 0.51, 0.51).outcome == "holds" and above(0.5, 0.5, 0.5).outcome == "undecided"


def test_more_seeds_decide_what_few_do_not():
    few = (0.50, 0.51, 0.55)
    assert above(0.5, *few).outcome == "undecided" and above(0.5, *few * 3).outcome == "holds"


def test_a_single_run_decides_nothing():
    one = above(0.5, 0.99)
    assert one.outcome == "single run" and not one.holds and one.mark == "(✓)" and above(0.5, 0.2).mark == "(✗)"
    assert verdict(1, seeds=1).verdict == "single run" and "4 of 4 statements are met" in verdict(1, seeds=1).holding
    assert one.to_dict()["interval"] is None and above(0.5, 0.6, 0.6).to_dict()["interval"] == [0.6, 0.6]


def test_the_rule_errs_in_one_of_twenty():
    """Margins whose mean is zero: 5% of 4,000 sets of seeds hold, and 5% fail. Five standard errors are 1.7 points, a
    false alarm in a million runs of either."""
    generator = np.random.default_rng(0)
    outcomes = [above(0.0, *generator.normal(size=5)).outcome for _ in range(4000)]
    for word in ("holds", "fails"):
        assert abs(outcomes.count(word) / 4000 - 0.05) < 0.0173


def test_verdict_words_follow_from_the_statements():
    met, missed, open_ = above(0.5, 0.9, 0.9), above(0.5, 0.1, 0.1), above(0.5, 0.1, 0.9)
    said = [
        ([met, met], "reproduced"),
        ([met, missed], "partly"),
        ([met, open_], "partly"),
        ([missed, open_], "not reproduced"),
        ([missed, missed], "not reproduced"),
        ([open_, open_], "undecided"),
        ([], "not run"),
    ]
    made = {"addmul-fnn": pd.DataFrame({"seed": [0, 1]})}
    for statements, word in said:
        claim = Claim(3, "x", "y", lambda results, statements=statements: statements)
        assert judge(claim, made, "laptop").verdict == word


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
    claim = Claim(3, "x", "y", lambda results: [])
    empty = {"addmul-fnn": pd.DataFrame(columns=["seed"])}
    assert judge(claim, empty, "laptop").verdict == "not run"
    assert judge(claim, {}, "laptop").verdict == "not run"


def test_a_claim_about_each_experiment_needs_only_one():
    only = {name: frame for name, frame in results().items() if name == "addmul-fnn"}
    full = next(claim for claim in CLAIMS if claim.id == 16)
    assert judge(full, only, "paper").verdict == "reproduced" and len(judge(full, only, "paper").statements) == 2
    assert judge(CLAIMS[0], only, "paper").verdict == "not run"


def test_the_largest_beta_that_holds_is_compared_between_sizes():
    [*_, last] = verdict(13).statements
    assert last.values.tolist() == [1.0] * 3 and last.holds
    changes = {f"correct/full@{f}/mul": 0.0 for f in ("1", "3.16", "0.316")}
    [*_, last] = verdict(13, experiment="sweep-large", **changes).statements
    assert last.values.tolist() == pytest.approx([0.1 / 3.16] * 3) and not last.holds
    [*_, last] = verdict(
        13, experiment="sweep-large", **{f"correct/full@{f}/mul": 0.0 for f in SWEEP_FACTORS}
    ).statements
    assert last.measured == "not available" and not last.holds


def test_a_sweep_of_three_betas_says_nothing_about_the_betas_between_them():
    made = results()
    few = {name: made[name][~made[name]["stage"].str.contains("0.316|3.16")] for name in ("sweep-small", "sweep-large")}
    *near, _ = judge(next(claim for claim in CLAIMS if claim.id == 13), few, "smoke").statements
    assert len(near) == 4 and all(s.measured == "not available" and not s.holds for s in near)


def test_capacity_takes_the_largest_network_that_there_is():
    claim = next(claim for claim in CLAIMS if claim.id == 14)
    made = results()
    only = {name: made[name] for name in made if name.startswith("capacity")}
    assert judge(claim, only, "laptop").verdict == "not run"
    swept = judge(claim, only | {"sweep-large": made["sweep-large"], "addmul-fnn": made["addmul-fnn"]}, "laptop")
    whole = judge(claim, only | {"addmul-fnn": made["addmul-fnn"].query("seed < 2")}, "paper")
    assert swept.statements[-1].values.tolist() == pytest.approx([0.3] * 3, abs=1e-3)  # 0.7 - 0.4
    assert whole.statements[-1].values.tolist() == pytest.approx([0.1] * 2, abs=1e-3) and whole.seeds == 2  # 0.7 - 0.6


def test_only_seeds_that_all_experiments_have_count():
    mixed = results()
    mixed["addmul-lstm"] = mixed["addmul-lstm"][mixed["addmul-lstm"]["seed"] < 2]
    assert judge(CLAIMS[0], mixed, "laptop").seeds == 2


def test_numbers_are_written_with_their_deviation():
    assert number(pd.Series([0.5, 0.7])) == "60.0 ± 14.1%"
    assert number(pd.Series([0.5])) == "50.0%"
    assert number(pd.Series([2.0, 2.0]), "x") == "2.00 ± 0.00x"


def test_all_claims_are_listed():
    assert [claim.id for claim in CLAIMS] == list(range(1, 29))
    published = {v.claim.id: v for v in verdicts("laptop")}
    assert all(published[i].verdict != "not run" and published[i].seeds >= 5 for i in (*range(1, 10), 12, 13, 14))
    assert all(published[i].verdict != "not run" and published[i].seeds >= 3 for i in (10, 11, 15, 16))


def test_laptop_runs_decide_most_claims():
    published = verdicts("laptop")
    decided = [v for v in published if v.decided]
    assert len(decided) >= 10
    assert all(s.outcome != "undecided" for v in decided for s in v.statements)
    assert summary(published).startswith(f"{len(CLAIMS)} claims: ") and f" In {len(decided)}, " in summary(published)
    assert not verdict(6, seeds=1).decided and verdict(6).decided
    assert summary([verdict(6), verdict(6, seeds=1)]).startswith("2 claims: 1 reproduced, 1 single run. In 1, ")


def test_the_command_prints_a_table_and_json(capsys):
    print_claims()
    table = capsys.readouterr().out
    assert " 1  " in table and "reproduced" in table and "seeds, laptop scale" in table
    print_claims(json=True)
    listed = json.loads(capsys.readouterr().out)
    fields = {"id", "claim", "paper", "ours", "seeds", "n", "scale", "verdict", "statements"}
    assert [set(row) for row in listed] == [fields] * len(CLAIMS)
    assert {row["verdict"] for row in listed} <= set(VERDICTS)
    first = listed[0]["statements"][0]
    assert first["interval"][0] < first["mean"] < first["interval"][1] and first["n"] == listed[0]["n"] == 5
