"""One look for all figures: the book's template, named axes, tasks in their colours, captions that count seeds."""

import inspect

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from modules_lib import Masks
from modules_lib.analysis import maskmap, theme
from modules_lib.datasets.images import CLASSES
from reproduction.claims import verdicts
from reproduction.experiments import CHAPTERS, preset, published_preset
from reproduction.experiments import two_xors as toy
from reproduction.experiments.scan import OUTPUT, TOKENS
from reproduction.figures import addmul, again, alpha, captions, cifar, double, method, permuted, reuse, scan
from reproduction.notebook import display
from reproduction.pages import claims_figure
from reproduction.runs.measures import DOUBLE, NETWORKS, PAIR_NAMES, SPLIT_NAMES, TASKS
from reproduction.runs.published import published


@pytest.fixture(scope="module")
def drawn():
    """Every public figure function -> what it draws of published results."""

    def of(names):
        return {key: published(published_preset(name)) for key, name in names.items()}

    arithmetic = [of({name: f"addmul-{name}" for name in NETWORKS})] * 2
    pairs = [of({name: f"double-{name}" for name in DOUBLE})] * 2
    swept, images = of({"small": "sweep-small", "large": "sweep-large"}), of({"cifar10": "cifar10"})
    commands = of({"scan": "scan"})
    splits = [of({"scan": "scan-transformer"})] * 2
    made = of({"reuse": "reuse"})
    twice = [of({name: f"again-{name}" for name in again.NAMES})] * 2
    variants = of({name: f"permuted-{name}" for name in permuted.VARIANTS})
    all_results = of({name: name for name in (*CHAPTERS["alpha"], *alpha.SHOWN)})
    stages = {"full": "full task", **TASKS, **PAIR_NAMES, **SPLIT_NAMES}
    experiments = {name: all_results[name] for name in alpha.SHOWN}
    masks = {split: Masks({OUTPUT: torch.rand(len(TOKENS), 4) < 0.5}) for split in SPLIT_NAMES}
    history = list(toy.watch(toy.two_xors(0, hidden=3, steps=5), steps=4, every=2))
    one = np.eye(len(CLASSES))
    return {
        addmul.sharing_per_layer: addmul.sharing_per_layer(*arithmetic),
        addmul.weights_per_layer: addmul.weights_per_layer(*arithmetic),
        addmul.performed: addmul.performed("fnn", *arithmetic),
        addmul.accuracy_per_mask: addmul.accuracy_per_mask(*arithmetic),
        again.agreement_per_layer: again.agreement_per_layer(*twice),
        again.without_ends: again.without_ends(*twice),
        again.in_halves: again.in_halves(*twice),
        double.sharing_per_layer: double.sharing_per_layer(*pairs),
        double.weights_per_layer: double.weights_per_layer(*pairs),
        double.accuracy_per_mask: double.accuracy_per_mask(*pairs),
        double.pair_map: double.pair_map(masks["simple"], masks["length"], {OUTPUT: "output"}),
        alpha.sensitivity: alpha.sensitivity(swept, swept, 1e-4),
        alpha.layers_at: alpha.layers_at(swept, "kept", 1e-4),
        alpha.performed_at: alpha.performed_at(swept, 1e-4),
        alpha.capacity: alpha.capacity({"published": all_results}, {"published": "laptop"}),
        alpha.histogram: alpha.histogram(experiments),
        alpha.shrinking: alpha.shrinking(experiments, stages),
        cifar.reference: cifar.reference(images, {}),
        cifar.change: cifar.change(images, {}),
        cifar.changes: cifar.changes(images, {}),
        cifar.change_beside: cifar.change_beside("cat", images, images),
        cifar.taken_for: cifar.taken_for(images, {}),
        cifar.drops: cifar.drops(images, {}),
        cifar.removed: cifar.removed(images, {}),
        cifar.compared: cifar.compared(one, one),
        scan.accuracy_per_split: scan.accuracy_per_split(commands, commands),
        scan.accuracy_by_length: scan.accuracy_by_length(commands, commands),
        scan.removed_per_token: scan.removed_per_token(commands, commands),
        scan.removed_per_layer: scan.removed_per_layer(commands, commands),
        scan.beside_alone: scan.beside_alone(*splits),
        scan.heads_per_layer: scan.heads_per_layer(*splits),
        scan.output_map: scan.output_map(masks),
        permuted.sharing: permuted.sharing(variants, variants),
        permuted.fullness: permuted.fullness(variants, variants),
        permuted.accuracies: permuted.accuracies(variants, variants),
        reuse.sharing_by_network: reuse.sharing_by_network(made, made),
        reuse.exchanged: reuse.exchanged(made, made),
        reuse.dose: reuse.dose(made, made),
        method.sampler: method.sampler(samples=100),
        method.tiny_network: method.tiny_network(history),
        claims_figure.at_a_glance: claims_figure.at_a_glance(verdicts("laptop")),
        maskmap.mask_map: maskmap.mask_map(masks["simple"], masks["length"], {OUTPUT: "output"}),
    }


MODULES = (addmul, again, alpha, cifar, claims_figure, double, maskmap, method, permuted, reuse, scan)


FIGURES = [
    pytest.param(function, id=f"{module.__name__.rpartition('.')[2]}.{name}")
    for module in MODULES
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__ and not name.startswith("_")
    if function.__annotations__["return"] == "go.Figure"
]


@pytest.mark.parametrize("function", FIGURES)
def test_a_figure_has_the_books_look_and_named_axes(drawn, function):
    figure = drawn[function]
    assert figure.layout.template == go.Figure(layout_template=theme.TEMPLATE).layout.template
    for axes in (list(figure.select_xaxes()), list(figure.select_yaxes())):
        # panels of one column share the title of the lowest, panels of one row that of the first
        titled = [axis.domain for axis in axes if axis.title.text]
        for axis in axes:
            assert axis.visible is False or (axis.domain in titled if len(axes) > 1 else axis.title.text)


@pytest.mark.parametrize("function", FIGURES)
def test_a_task_has_its_colour(drawn, function):
    known = {**TASKS, **PAIR_NAMES, **SPLIT_NAMES, "full": "full task"}
    for trace in drawn[function].data:
        colours = [theme.COLOURS[task] for task, name in known.items() if name == trace.name]
        if colours:
            assert trace.marker.color in colours or trace.line.color in colours, trace.name


@pytest.mark.parametrize("function", FIGURES)
def test_panels_are_named_for_downloaded_data(drawn, function):
    figure = drawn[function]
    places = {(trace.xaxis or "x") + (trace.yaxis or "y") for trace in figure.data}
    if len(places) > 1:
        assert set(figure.layout.meta["panels"]) == places
        assert len(set(figure.layout.meta["panels"].values())) == len(places)


def test_captions_count_the_seeds():
    frame = published(preset("addmul-fnn", "laptop"))
    few = frame[frame["seed"] < 3]
    said = captions.means({"a": few, "b": frame[frame["seed"] < 5]}, {"a": frame[frame["seed"] == 0]})
    assert "Bars: published, mean over 3 to 5 seeds." in said and "Diamonds: this run, 1 seed." in said
    assert "unbiased standard deviation" in said
    alone = captions.means({}, {"a": frame[frame["seed"] == 0]}, run_marks="Points")
    assert alone == "Points: this run, 1 seed."
    assert "(published: 3 seeds)" in captions.numbers({"a": few}, {})


def test_a_figure_without_a_name_for_links_is_refused():
    with pytest.raises(ValueError, match="'Two words'; use lower-case words with hyphens"):
        display.show(go.Figure(), "Two words", "title", "caption")


def test_a_figure_is_shown_with_its_name_and_caption(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: shown.append(bundle))
    display.show(go.Figure(layout_title_text="a"), "two-words", "What is <shown>", "What to look at.")
    display.show(go.Figure(layout_title_text="b"), "two-words", "What is <shown>", "What to look at.")
    figure, caption, other, _ = shown
    assert "application/vnd.plotly.v1+json" in figure and caption["text/plain"] == "What is <shown>. What to look at."
    for bundle in (figure, other):  # whatever its data
        assert 'id="fig-two-words"' in bundle["text/html"] and 'id="plot-two-words"' in bundle["text/html"]
    assert 'aria-label="What is &lt;shown&gt;"' in figure["text/html"] and "#fig-two-words" in caption["text/html"]
