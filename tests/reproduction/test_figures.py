"""Figures: what they draw is what the results say, and their buttons and sliders change it."""

import itertools
from dataclasses import replace

import numpy as np
import plotly.io as pio
import pytest
import torch

from modules_lib import Masks
from reproduction.experiments import preset
from reproduction.experiments import two_xors as toy
from reproduction.figures import addmul as figures
from reproduction.figures import method, steps
from reproduction.notebook import display
from reproduction.runs.published import published as published_runs


@pytest.fixture(scope="module")
def results():
    return {name: published_runs(preset(f"addmul-{name}", "laptop")) for name in ("fnn", "lstm")}


@pytest.fixture(scope="module")
def one_seed(results):
    return {name: frame[frame["seed"] == 0] for name, frame in results.items()}


def test_sharing_shows_mean_and_unbiased_deviation_over_seeds(results, one_seed):
    figure = figures.sharing_per_layer(results, one_seed)
    bar = next(trace for trace in figure.data if (trace.type, trace.name, trace.yaxis) == ("bar", "addition", "y"))
    frame = results["fnn"]
    rows = frame[(frame["stage"] == "add") & (frame["metric"] == "sharing") & (frame["layer"] == "input")]
    assert bar.x[0] == "input" and len(rows) >= 5
    assert bar.y[0] == pytest.approx(100 * np.mean(rows["value"]))
    assert bar.error_y.array[0] == pytest.approx(100 * np.std(rows["value"], ddof=1))
    diamonds = [
        trace for trace in figure.data if trace.name in ("addition", "multiplication") and trace.type == "scatter"
    ]
    assert bar.error_y.visible and len(diamonds) == 4
    assert not any(any(trace.error_y.array) or trace.error_y.visible for trace in diamonds)  # no caps without a bar
    chance = next(trace for trace in figure.data if trace.name == "by chance")  # of addition, in the FNN
    kept = frame[(frame["layer"] == "input") & (frame["metric"] == "kept")].set_index("stage")["value"]
    assert chance.y[0] == pytest.approx(100 * kept["mul"].mean() / kept["unmasked"].mean())


@pytest.mark.parametrize("network", ["fnn", "lstm"])
def test_performed_switches_between_shares_and_changes(results, one_seed, network):
    figure = figures.performed(network, results, one_seed)
    assert len(figure.data) == 6
    shares, changes = figure.layout.updatemenus[0].buttons
    frame = results[network]
    rows = frame[(frame["stage"] == "add") & (frame["task"] == "mul") & (frame["metric"] == "none")]
    assert shares.args[0]["z"][2][1][2] == pytest.approx(100 * rows["value"].mean(), abs=0.01)
    np.testing.assert_allclose(figure.data[2].z, shares.args[0]["z"][2])
    unmasked = frame[(frame["stage"] == "unmasked") & (frame["task"] == "mul") & (frame["metric"] == "none")]
    expected = 100 * (rows["value"].mean() - unmasked["value"].mean())
    assert changes.args[0]["z"][2][1][2] == pytest.approx(expected, abs=0.01)


def test_figures_do_without_published_or_without_run(results, one_seed):
    for published, run in ((results, {}), ({}, one_seed)):
        for figure in (
            figures.sharing_per_layer(published, run),
            figures.weights_per_layer(published, run),
            figures.accuracy_per_mask(published, run),
            figures.performed("fnn", published, run),
        ):
            assert figure.data


def test_sampler_sliders_show_exactly_one_pair_whatever_the_order():
    figure = method.sampler(samples=2000)
    by_logit, by_tau = figure.layout.sliders

    def shown():
        return [i for i, trace in enumerate(figure.data) if trace.visible and trace.opacity == 1]

    assert len(shown()) == 2
    seen = set()
    for first, second in itertools.product(by_logit.steps, by_tau.steps):
        for step in (first, second):
            for name, values in step.args[0].items():
                for trace, value in zip(figure.data, values, strict=True):
                    trace[name] = value
        seen.add(tuple(shown()))
        assert len(shown()) == 2
    assert len(seen) == len(by_logit.steps) * len(by_tau.steps)


def test_sampler_bars_follow_the_analytic_line():
    # 54 pairs of 25 bins: five standard errors of the binomial and half a rounding unit; false alarms below 1e-3.
    figure = method.sampler(samples=20_000)
    for bars, line in zip(figure.data[::2], figure.data[1::2], strict=True):
        p = np.array(line.y) / 100
        assert abs(p.sum() - 1) < 1e-3
        assert np.all(np.abs(np.array(bars.y) / 100 - p) < 5 * np.sqrt(p * (1 - p) / 20_000) + 3 / 20_000)


def test_tiny_network_is_watched_from_start_to_end():
    network = toy.two_xors(0, hidden=8)
    assert toy.accuracy(network) == [1.0, 1.0]
    history = list(toy.watch(network, steps=120, every=50))
    assert [snapshot.step for snapshot in history] == [0, 50, 100, 120]
    figure = method.tiny_network(history)
    edges = sum(weights.numel() for weights in history[0].weights)
    assert len(figure.layout.sliders[0].steps) == 4
    changes = figure.layout.sliders[0].steps[0].args
    assert len(changes[0]["opacity"]) == edges == len(changes[2])
    first, last = (figure.layout.sliders[0].steps[i].args[0]["opacity"] for i in (0, -1))
    assert sum(last) < sum(first)
    assert torch.equal(history[0].weights[0], history[-1].weights[0])


def test_the_last_step_of_the_method_says_what_is_shared():
    untrained = next(toy.watch(toy.two_xors(0, hidden=6, steps=1)))

    def caption(first, second):
        snapshot = replace(untrained, masks=[filled(untrained.masks[0], count) for count in (first, second)])
        return steps.method_steps(snapshot).layout.updatemenus[0].buttons[-1].args[1]["title.text"]

    assert "of A's 20 weights<br>B uses 5 (25%), of B's 5 A uses 5 (100%)" in caption(20, 5)
    assert "of A's 0 weights<br>B uses 0 (not available)" in caption(0, 5)


def filled(masks, count):
    """Masks of the same shapes that keep the first so many weights."""
    kept = torch.arange(masks.size()) < count
    parts = kept.split([mask.numel() for mask in masks.values()])
    return Masks({name: part.view(mask.shape) for (name, mask), part in zip(masks.items(), parts, strict=True)})


def test_the_books_renderer_is_deterministic_and_asks_for_nothing():
    figure = method.sampler(samples=500)
    bundles = []
    for _ in range(2):
        display.setup()
        bundles.append(pio.renderers["book"].to_mimebundle(figure.to_dict()))
    assert bundles[0] == bundles[1]
    page = bundles[0]["text/html"]
    assert "http" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    again = pio.renderers["book"].to_mimebundle(figure.to_dict())["text/html"]
    assert again != page  # the same figure twice on a page needs two ids
