"""Views of figures: which there are, which comes first, and what a notebook and a page show of them."""

import pandas as pd
import plotly.graph_objects as go
import pytest

from reproduction.experiments import preset, published_preset
from reproduction.notebook import views
from reproduction.notebook.commands import run_command
from reproduction.notebook.display import bundles
from reproduction.notebook.views import LAPTOP, PAPER, RUN, Views
from reproduction.runs import published as store
from reproduction.runs import store as runs
from reproduction.runs.execute import execute
from reproduction.runs.published import published

NAMES = {"fnn": "addmul-fnn", "lstm": "addmul-lstm"}


def results(scale):
    return {name: published(published_preset(experiment, scale)) for name, experiment in NAMES.items()}


def with_seeds(results, number):
    """The results of one seed as if there were more."""
    return {name: pd.concat([frame.assign(seed=seed) for seed in range(number)]) for name, frame in results.items()}


@pytest.mark.parametrize(("seeds", "first"), [(1, LAPTOP), (2, LAPTOP), (3, PAPER), (4, PAPER)])
def test_paper_sizes_come_first_once_they_have_three_seeds(seeds, first):
    paper = with_seeds(results("paper"), seeds)
    assert Views({PAPER: (paper, {}), LAPTOP: (results("laptop"), {})}).first == first


def test_views_without_results_are_left_out():
    run = {"fnn": results("smoke")["fnn"]}
    assert list(Views.of(NAMES, "smoke", run).results) == [PAPER, LAPTOP, RUN]
    assert list(Views.of(NAMES, "smoke", {}).results) == [PAPER, LAPTOP]
    assert list(Views.of({"none": "samplers"}, "smoke", {}).results) == [LAPTOP]
    beside, own = Views.of(NAMES, "smoke", run).results[RUN]
    assert set(beside) == {"fnn", "lstm"} and own.keys() == run.keys()


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(views, "display", lambda bundle, raw: outputs.append(bundle))
    return outputs


def draw(published, run):
    """A figure that says what it was drawn from."""
    return go.Figure(go.Scatter(x=[len(published)], y=[len(run)], name="run" if run else "published"))


def test_a_page_has_all_views_and_a_notebook_the_run(shown):
    run = {"fnn": results("smoke")["fnn"]}
    Views.of(NAMES, "smoke", run).show(draw, "sizes", "A title", "A caption.")
    figure, caption = shown
    assert figure["application/vnd.plotly.v1+json"]["data"][0]["name"] == "run"
    for anchor, view in (("fig-sizes", LAPTOP), ("fig-sizes-paper", PAPER), ("fig-sizes-run", RUN)):
        assert figure["text/html"].count(f'id="{anchor}"') == 1
        assert (f'data-view="{view}" hidden' in figure["text/html"]) == (view != LAPTOP)
        assert (f'data-view="{view}" hidden' in caption["text/html"]) == (view != RUN)
    assert caption["text/plain"].startswith("A title, with your own run. A caption. ")


def test_every_view_of_a_figure_has_the_commands_that_make_it(shown):
    Views.of(NAMES, "smoke", {}).only("lstm").show(draw, "sizes", "A title", "A caption.")
    paper, laptop = shown[1]["text/html"].split("data-view=")[1:]
    for part, scale in ((paper, "paper"), (laptop, "laptop")):
        seeds = sorted(results(scale)["lstm"]["seed"].unique())
        command = run_command(published_preset("addmul-lstm", scale), seeds)
        assert f"<pre>{command}</pre>" in part and "addmul-fnn" not in part


def test_a_figure_without_runs_has_no_command():
    _, caption = bundles(go.Figure(), "drawing", "A drawing", "No runs.")
    assert "@misc" in caption["text/html"] and "python" not in caption["text/html"]


def test_one_view_alone_has_no_buttons(shown):
    Views.of({"none": "samplers"}, "smoke", {}).show(draw, "sizes", "A title", "A caption.")
    assert "button type" not in shown[0]["text/html"] and 'id="fig-sizes"' in shown[0]["text/html"]


def test_maps_are_of_published_masks_and_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_RESULTS", str(tmp_path / "results"))
    config = preset("addmul-fnn", "smoke", weight_steps=2, mask_steps=2, hidden=(8,), batch=16)
    made = execute(config, 2)
    assert list(views.runs_with_masks(config, [])) == [] and list(views.runs_with_masks(config, made)) == [RUN]
    store.publish(made, config.drawn, dirty=True)
    monkeypatch.setattr(views, "published_preset", lambda name, scale: config)
    found = views.runs_with_masks(config, made)
    assert list(found) == [PAPER, LAPTOP, RUN]
    for stage in ("add", "mul"):
        assert found[LAPTOP].masks(stage) == found[RUN].masks(stage) == made[0].masks(stage)
    published = runs.stored(tmp_path / "results")
    assert [len(list(run.folder.glob("masks/*"))) for run in published] == [2, 0]  # of seed 0 alone
    assert all(run.damage() == [] for run in published)
