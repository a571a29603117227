"""Figures of anyone's masks: their numbers are those of the masks; and the two chapters that use them stay short."""

import nbformat
import numpy as np
import pytest
import torch

from modules_lib import Masks, random_masks, sharing, sharing_matrix
from modules_lib.analysis import task_figures as figures
from modules_lib.analysis.theme import COLOURS
from tools.chapters import source

SIZES = {
    "first.weight": (40, 30),
    "middle.0.conv.weight": (8, 5, 3, 3),
    "middle.1.conv.weight": (10, 8),
    "out": (6, 10),
}
TOGETHER = {"first.weight": "first", "middle.0.conv.weight": "middle", "middle.1.conv.weight": "middle"}


def made_up(seed):
    generator = torch.Generator().manual_seed(seed)
    return Masks({name: torch.rand(shape, generator=generator) < 0.1 * (seed + 2) for name, shape in SIZES.items()})


@pytest.fixture(scope="module")
def masks():
    return {task: made_up(seed) for seed, task in enumerate(("add", "cats", "dogs"))}


def bars(figure, task):
    kept, shared = (trace for trace in figure.data if trace.type == "bar" and trace.name == task)
    return kept, shared


def chance(figure, task):
    """What the black line says, which is drawn after the white one."""
    return [t for t in figure.data if t.type == "scatter" and t.offsetgroup == task][-1]


def test_bars_are_what_masks_keep_and_share(masks):
    figure = figures.kept_and_shared(masks)
    for task, own in masks.items():
        kept, shared = bars(figure, task)
        others = [other for name, other in masks.items() if name != task]
        assert list(kept.y) == ["first", "middle.0.conv", "middle.1.conv", "out"] == list(shared.y)
        np.testing.assert_allclose(kept.x, [100 * own.kept(name) for name in own])
        np.testing.assert_allclose(shared.x, [100 * sharing(own, *others, name=name) for name in own])
        union = others[0] | others[1]
        np.testing.assert_allclose(chance(figure, task).x, [100 * union.kept(name) for name in own])
    colours = [bars(figure, task)[0].marker.color for task in masks]
    assert colours[0] == COLOURS["add"] and len(set(colours)) == 3


def test_layers_of_one_name_are_counted_together(masks):
    figure = figures.kept_and_shared(masks, TOGETHER)
    kept, shared = bars(figure, "cats")
    own, names = masks["cats"], [name for name in TOGETHER if TOGETHER[name] == "middle"]
    others = masks["add"] | masks["dogs"]
    count = sum(own.count(name) for name in names)
    assert list(kept.y) == ["first", "middle"]
    assert kept.x[1] == pytest.approx(100 * count / sum(own.size(name) for name in names))
    assert kept.customdata[1].startswith(f"{count:,} of ")
    assert shared.x[1] == pytest.approx(100 * sum((own & others).count(name) for name in names) / count)


def test_the_line_of_chance_is_where_random_masks_lie(masks):
    [line] = chance(figures.kept_and_shared(masks, dict.fromkeys(SIZES, "all")), "dogs").x
    others = masks["add"] | masks["cats"]
    drawn = [100 * sharing(random_masks(masks["dogs"], seed), others) for seed in range(60)]
    assert abs(line - np.mean(drawn)) < 4 * np.std(drawn, ddof=1) / np.sqrt(len(drawn))


def test_a_layer_without_weights_has_no_bar_of_sharing(masks):
    empty = Masks({name: torch.zeros_like(mask) if name == "out" else mask for name, mask in masks["add"].items()})
    kept, shared = bars(figures.kept_and_shared(masks | {"add": empty}), "add")
    assert kept.x[3] == 0 and np.isnan(shared.x[3]) and not np.isnan(shared.x[:3]).any()


def test_the_matrix_follows_its_menu(masks):
    figure = figures.matrix(masks, TOGETHER)
    everything, first, middle = figure.layout.updatemenus[0].buttons
    assert (everything.label, first.label, middle.label) == ("all layers", "first", "middle")
    np.testing.assert_allclose(figure.data[0].z, 100 * sharing_matrix(masks), atol=0.006)
    np.testing.assert_allclose(first.args[0]["z"][0], 100 * sharing_matrix(masks, "first.weight"), atol=0.006)
    assert figure.layout.title.text == "all layers" and middle.args[1]["title.text"] == "middle"
    assert first.args[0]["text"][0][0][1] == f"{100 * sharing(masks['add'], masks['cats'], name='first.weight'):.0f}"


def test_long_names_are_broken_where_a_phone_needs_it():
    names = ["transformer.layers.0.self_attn.in_proj_weight", "fc.weight"]
    masks = {task: Masks({name: torch.ones(2, 2) > 0 for name in names}) for task in "ab"}
    kept, _ = bars(figures.kept_and_shared(masks), "a")
    assert list(kept.y) == ["transformer.layers<br>.0.self_attn<br>.in_proj_weight", "fc"]


@pytest.mark.parametrize("draw", [figures.kept_and_shared, figures.matrix])
def test_what_cannot_be_drawn_is_refused(masks, draw):
    with pytest.raises(ValueError, match="two tasks or more; there are those of add"):
        draw({"add": masks["add"]})
    with pytest.raises(ValueError, match="layers is empty"):
        draw(masks, {})
    with pytest.raises(ValueError, match="no mask named 'last'"):
        draw(masks, {"last": "last"})


@pytest.mark.parametrize("chapter", ["book/transformer", "book/resnet"])
def test_a_worked_chapter_has_fewer_than_40_lines_of_code(chapter):
    """From the first import to the last figure; what a page shows beyond these stands under a heading of its own."""
    cells = nbformat.read(source(chapter), 4).cells
    beyond = [i for i, cell in enumerate(cells) if cell.source.startswith("## Heads and neurons")]
    cells = [cell for cell in cells[: beyond[0] if beyond else None] if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.source.splitlines() if line and not line.startswith("#")]
    assert 15 < len(lines) < 40
    assert not any("hide-input" in cell.metadata.get("tags", []) for cell in cells)
