"""Networks that reuse an adder to a known degree: how they are made, and what is measured of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from modules_lib.datasets import double_addition as double
from modules_lib.training.progress import Progress
from reproduction.claims import CLAIMS, judge
from reproduction.experiments import preset
from reproduction.experiments.reuse import AGAIN, DIGITS, PULLS, SUMS, VARIANTS, PairsFNN, stage_of
from reproduction.figures import reuse as figures
from reproduction.runs.execute import execute
from reproduction.runs.measures import inner_chance, inner_sharing, least_reuse_seen, likeness, lost_by_exchange
from reproduction.runs.published import table

TINY = preset("reuse", "smoke", hidden=(16, 16), weight_steps=3, mask_steps=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODULES_RUNS", str(tmp_path_factory.mktemp("runs")))
        [run] = execute(TINY, 1)
        yield run


def network(seed=0):
    torch.manual_seed(seed)
    return PairsFNN(double.INPUTS, (30, 20), double.OUTPUTS)


def questions(size=50):
    return preset("reuse", "smoke").data("full").batch(size, 0, "test")[0]


def test_copied_outer_weights_give_both_pairs_one_computation():
    model, x = network(), questions()
    assert min(map(float, model.distances(x))) > 0.05
    model.copy_first_pair()
    assert max(map(float, model.distances(x))) < 1e-10
    answers, exchanged = model.eval()(x), model(x.roll(DIGITS, -1))
    torch.testing.assert_close(answers[..., :SUMS], exchanged[..., SUMS:])


def test_the_distance_is_one_for_separate_units():
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.layers[0].weight[:15, :DIGITS] = 1.0
        model.layers[0].weight[15:, DIGITS:] = 1.0
    assert float(model.distances(questions())[0]) == pytest.approx(1.0)


def test_in_training_one_adder_serves_both_pairs_and_a_pull_adds_the_distance():
    model, x = network(), questions()
    model.one_adder = True
    torch.testing.assert_close(model.train()(x), model(x.roll(DIGITS, -1)).roll(SUMS, -1))
    model.copy_first_pair()
    there = x[:, 0, :DIGITS].sum(-1) > 0
    torch.testing.assert_close(model(x)[there, 0, :SUMS], model.eval()(x)[there, 0, :SUMS])
    pulled = network()
    pulled.pulled = True
    answers, distance = pulled.train()(x)
    torch.testing.assert_close(answers, pulled.eval()(x))
    assert float(distance) == pytest.approx(float(sum(pulled.distances(x)) / 2))


def test_a_run_has_all_that_tells_of_reuse(made):
    frame = table([made])
    weights = made.load_weights(TINY.model())
    first = weights["copied"].layers[0].weight
    assert torch.equal(first[:, :DIGITS], first[:, DIGITS:])
    assert likeness(frame, "copied")[0] == pytest.approx(1, abs=1e-6) and likeness(frame, "none")[0] < 0.999
    assert set(made.masks(stage_of("pair-1", "copied"))) == {f"copied.layers.{i}.weight" for i in range(3)}
    for variant in TINY.variants:
        assert 0 <= inner_sharing(frame, variant)[0] <= 1 and 0 <= inner_chance(frame, variant)[0] <= 1
        assert -1 <= lost_by_exchange(frame, variant)[0] <= 1
        assert (stage_of(AGAIN, variant) in TINY.stages) == (not variant.startswith("dose"))


def test_the_pull_makes_computations_more_alike():
    short = {"hidden": (40, 20), "weight_steps": 150, "mask_steps": 1}
    config = preset("reuse", "smoke", variants=("none", "dose-5"), **short)
    model, _ = config.train(0, Progress())
    x = questions(500)
    apart = {v: float(torch.stack(model[v].distances(x)).mean()) for v in ("none", "dose-5")}
    assert apart["dose-5"] < 0.8 * apart["none"]


def test_wrong_variants_are_refused():
    for variants in ((), ("none", "none"), "none"):
        with pytest.raises(ValueError, match="variants is .*; it must list at least one, each once"):
            preset("reuse", "smoke", variants=variants)
    with pytest.raises(ValueError, match="variant.*'pulled'"):
        preset("reuse", "smoke", variants=("pulled",))


def results(seeds=3, jitter=0.01, **changes):
    """Results in which all three claims hold: sharing and accuracy lost by exchange, by variant."""
    shares = dict(zip(VARIANTS, np.linspace(0.2, 0.6, len(PULLS)).tolist() + [0.8, 0.85], strict=True))
    values = {"shares": shares, "lost": {"none": 0.9, "copied": 0.02, "built-in": 0.01}, "again": 0.85}
    values["shares"] |= changes.get("shares", {})
    values["lost"] |= changes.get("lost", {})
    rows = []
    for seed in range(seeds):
        for variant in VARIANTS:
            for part in ("pair-1", "pair-2", AGAIN):
                share = values["again"] if part == AGAIN else values["shares"][variant]
                for layer in ("input", "hidden 1", "output", "total"):
                    value = share * (1 + jitter * (seed - 1))
                    rows.append({"stage": stage_of(part, variant), "layer": layer, "metric": "sharing", "value": value})
                    rows.append({"stage": stage_of(part, variant), "layer": layer, "metric": "kept", "value": 30})
                    rows.append({"stage": stage_of("unmasked", variant), "layer": layer, "metric": "kept", "value": 90})
                rows.append({"stage": stage_of(part, variant), "task": part, "metric": "correct", "value": 1.0})
            for one, other in (("pair-1", "pair-2"), ("pair-2", "pair-1")):
                value = 1 - values["lost"].get(variant, 0.5)
                rows.append(
                    {"stage": stage_of(f"inner of {other}", variant), "task": one, "metric": "correct", "value": value}
                )
            place = {"stage": stage_of("unmasked", variant), "layer": "total", "metric": "distance"}
            rows.append({**place, "value": 0.5})
        for row in rows:
            row.setdefault("seed", seed)
    return {"reuse": pd.DataFrame(rows).drop_duplicates(["seed", "stage", "layer", "task", "metric"])}


@pytest.mark.parametrize(
    ("number", "changes", "expected"),
    [
        (22, {}, "reproduced"),
        (22, {"shares": {"copied": 0.3}}, "partly"),
        (22, {"shares": {"copied": 0.2, "built-in": 0.2}}, "not reproduced"),
        (23, {}, "reproduced"),
        (23, {"lost": {"none": 0.1}}, "partly"),
        (23, {"lost": {"none": 0.0, "copied": 0.9, "built-in": 0.9}}, "not reproduced"),
        (24, {}, "reproduced"),
        (24, {"shares": dict(zip(PULLS, np.linspace(0.6, 0.2, len(PULLS)), strict=True))}, "not reproduced"),
    ],
)
def test_verdicts_follow_the_results(number, changes, expected):
    claim = next(claim for claim in CLAIMS if claim.id == number)
    assert judge(claim, results(**changes), "laptop").verdict == expected


def test_a_run_of_few_networks_is_judged_as_far_as_it_goes(made):
    verdicts = {
        claim.id: judge(claim, {"reuse": table([made])}, "smoke") for claim in CLAIMS if claim.id in (22, 23, 24)
    }
    assert len(verdicts[22].statements) == 4 and len(verdicts[23].statements) == 3
    assert verdicts[24].verdict == "not run"


def test_the_least_reuse_that_is_seen_falls_with_the_noise():
    quiet, loud = (least_reuse_seen(results(jitter=jitter)["reuse"]) for jitter in (0.01, 0.05))
    assert 0 < quiet[0] < loud[0] < 1 and quiet[1] <= quiet[0] <= quiet[2]
    assert np.isnan(least_reuse_seen(results(seeds=1)["reuse"])).all()


def test_figures_draw_what_was_measured(made):
    run, published = {"reuse": table([made])}, results()
    for draw in (figures.sharing_by_network, figures.exchanged, figures.dose):
        for sides in ((published, run), (published, {}), ({}, run)):
            assert draw(*sides).data
    first = figures.sharing_by_network(published, {}).data[0]
    assert list(first.x) == list(figures.LABELS.values()) and first.y[0] == pytest.approx(20)
