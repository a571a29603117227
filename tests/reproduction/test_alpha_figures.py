"""The figures over beta, capacity and time: what they draw is what the results say, and sliders change it."""

import numpy as np
import pytest

from reproduction.experiments import CHAPTERS, published_preset
from reproduction.figures import alpha, double
from reproduction.runs.measures import DOUBLE, by_layer, outcome, task_accuracy
from reproduction.runs.published import published

BETA = 1e-4


@pytest.fixture(scope="module")
def results():
    return {name: published(published_preset(name)) for name in (*CHAPTERS["alpha"], *alpha.SHOWN)}


@pytest.fixture(scope="module")
def swept(results):
    return {size: results[f"sweep-{size}"] for size in alpha.SWEPT}


def apply(figure, step):
    """What plotly does when the slider comes to a step."""
    changes, traces = step.args
    for name, values in changes.items():
        for i, value in zip(traces, values, strict=True):
            figure.data[i].update({name.replace(".", "_"): value})


def test_nine_betas_over_two_decades_are_published(swept):
    assert all(set(frame["seed"]) >= set(range(5)) for frame in swept.values())
    figure = alpha.sensitivity(swept, {}, BETA)
    curves = [trace for trace in figure.data if trace.name.startswith("accuracy")]
    assert len(curves) == 2
    for curve, frame in zip(curves, swept.values(), strict=True):
        assert len(curve.x) >= 9 and max(curve.x) / min(curve.x) == pytest.approx(100)
        at = list(curve.x).index(BETA)
        values = 100 * task_accuracy(frame, "full@1")
        assert curve.y[at] == pytest.approx(values.mean())
        assert curve.error_y.array[at] == pytest.approx(values.std(ddof=1))
    steps = figure.layout.sliders[0].steps
    assert len(steps) == len(curves[0].x) and figure.layout.meta["linked"] == "beta"
    apply(figure, steps[0])
    lines = [trace for trace in figure.data if trace.name == "beta"]
    assert len(lines) == 2 and all(list(line.x) == pytest.approx([1e-5, 1e-5]) for line in lines)


def test_the_run_is_drawn_at_its_own_betas(swept):
    figure = alpha.sensitivity(swept, {"small": swept["small"]}, BETA, run_beta=2e-4)
    diamonds = [trace for trace in figure.data if trace.marker.symbol == "diamond" and trace.x[0] is not None]
    assert len(diamonds) == 3 and all(max(trace.x) == pytest.approx(2e-3) for trace in diamonds)


@pytest.mark.parametrize("metric", ["kept", "sharing"])
def test_layers_follow_the_slider(swept, metric):
    figure = alpha.layers_at(swept, metric, BETA)
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == [
        s.label for s in alpha.sensitivity(swept, {}, BETA).layout.sliders[0].steps
    ]
    for step, factor in ((steps[0], "0.1"), (steps[-1], "10")):
        apply(figure, step)
        [*_, bar] = [trace for trace in figure.data if trace.name == "multiplication"]  # of the large network
        frame = swept["large"]
        values = by_layer(frame, f"mul@{factor}", metric).drop(columns="total")
        if metric == "kept":
            values = values / by_layer(frame, "unmasked", "kept")[values.columns]
        assert list(bar.y) == pytest.approx(list(100 * values.mean()), abs=1e-2)
        assert list(bar.error_y.array) == pytest.approx(list(100 * values.std(ddof=1)), abs=1e-2)


def test_confusions_follow_the_slider(swept):
    figure = alpha.performed_at(swept, BETA)
    apply(figure, figure.layout.sliders[0].steps[-1])
    cells = np.array(figure.data[1].z)  # mask of addition; rows: asked + and x; columns: sum, product, neither
    assert cells[1, 0] == pytest.approx(100 * outcome(swept["large"], "add@10", "mul", "add").mean(), abs=0.01)


def test_capacity_goes_from_the_smallest_network_to_the_largest(results):
    figure = alpha.capacity({"published": results, "this run": results}, {"published": "laptop", "this run": "laptop"})
    line, diamonds = figure.data
    assert list(line.x) == ["50-50-25", "100-100-50", "200-200-100", "400-400-200"] == list(diamonds.x)
    assert line.y[0] == pytest.approx(100 * by_layer(results["capacity-tiny"], "add", "sharing")["total"].mean())
    assert line.y[3] == pytest.approx(100 * by_layer(results["sweep-large"], "add@1", "sharing")["total"].mean())
    assert line.customdata[0][1] == f"{100 * outcome(results['capacity-tiny'], 'unmasked', 'mul').mean():.1f}"


def test_capacity_draws_every_network_however_many_seeds_it_has(results):
    fewer = {name: frame[frame["seed"] == 0] if "medium" in name else frame for name, frame in results.items()}
    (line,) = alpha.capacity({"published": fewer}, {"published": "laptop"}).data
    whole, alone = (by_layer(fewer[f"capacity-{size}"], "add", "sharing")["total"] for size in ("small", "medium"))
    assert list(line.y[1:3]) == pytest.approx([100 * whole.mean(), 100 * alone.mean()])
    assert line.name == "published, 1 to 5 seeds" and not np.isnan(line.y).any()


def test_the_histogram_is_a_density_with_two_scales(results):
    figure = alpha.histogram(results)
    assert [trace.name for trace in figure.data] == [label for label, _ in alpha.SHOWN.values()]
    for trace in figure.data:
        assert len(trace.x) == 500
        assert np.nansum([y or 0 for y in trace.y]) / 500 == pytest.approx(1, abs=1e-3)
    assert [choice.args[1]["yaxis.type"] for choice in figure.layout.updatemenus[0].buttons] == ["log", "linear"]


def test_masks_shrink_over_time(results):
    names = {"full": "both", "add": "addition", "mul": "multiplication", "pair-1": "pair 1", "pair-2": "pair 2"}
    figure = alpha.shrinking({name: results[name] for name in alpha.SHOWN}, names)
    assert len(figure.data) == 3 * 5 + 2  # of SCAN and CIFAR-10 the full-task mask is named alone
    assert [trace.visible for trace in figure.data] == [True] * 3 + [False] * (len(figure.data) - 3)
    for trace in figure.data:
        assert trace.y[0] > 90 and trace.y[-1] < trace.y[0]
    for i, choice in enumerate(figure.layout.updatemenus[0].buttons):
        on = [j for j, on in enumerate(choice.args[0]["visible"]) if on]
        assert on == ([3 * i, 3 * i + 1, 3 * i + 2] if i < 5 else [15 + i - 5])


def test_double_addition_shows_every_network_and_mask():
    both = {name: published(published_preset(f"double-{name}")) for name in DOUBLE}
    figure = double.accuracy_per_mask(both, {})
    assert len(figure.data) == 2 * len(DOUBLE)
    bar = figure.data[1]
    assert list(bar.x) == ["none", "both", "pair 1", "pair 2", "not pair 1", "not pair 2"]
    assert bar.y[4] == pytest.approx(100 * outcome(both["fnn"], "not pair-1", "pair-2").mean())
    shares = double.sharing_per_layer(both, both)
    chance = [trace for trace in shares.data if trace.name == "by chance"]
    assert len(chance) == 2 * len(DOUBLE) and double.weights_per_layer(both, {}).data
