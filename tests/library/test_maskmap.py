"""The map of masks: every weight is drawn as what it is, blocks are counted, and large layers stay light."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from modules_lib import Masks
from modules_lib.analysis.maskmap import mask_map


def random_masks(seed, **shapes):
    generator = torch.Generator().manual_seed(seed)
    return Masks({name: torch.rand(shape, generator=generator) < 0.2 for name, shape in shapes.items()})


def image(figure, i):
    return Image.open(io.BytesIO(base64.b64decode(figure.layout.images[i].source.split(",")[1])))


@pytest.fixture(scope="module")
def masks():
    shapes = {"small": (7, 5), "wide": (90, 130), "kernel": (6, 3, 3, 3)}
    return random_masks(0, **shapes), random_masks(1, **shapes)


LAYERS = {"wide": "hidden", "small": "output", "kernel": "convolution"}


def test_every_weight_has_the_colour_of_its_kind(masks):
    first, second = masks
    figure = mask_map(first, second, LAYERS, ("one", "two"), ("#010203", "#040506"))
    drawn = np.array(image(figure, 1).convert("RGB"))
    assert drawn.shape == (90, 130, 3)
    legend = {trace.name: trace.marker.color for trace in figure.data[1:]}
    assert list(legend) == ["only one", "only two", "both", "neither"]
    a, b = first["wide"].numpy(), second["wide"].numpy()
    for name, kind in zip(legend, (a & ~b, ~a & b, a & b, ~a & ~b), strict=True):
        colour = [int(legend[name][i : i + 2], 16) for i in (1, 3, 5)]
        assert np.array_equal((drawn == colour).all(-1), kind)
    assert legend["only one"] == "#010203" and legend["only two"] == "#040506"


def test_blocks_count_all_weights_once(masks):
    first, second = masks
    figure = mask_map(first, second, LAYERS)
    counts = np.array(figure.data[0].customdata)
    a, b = first["wide"], second["wide"]
    assert counts.sum((0, 1)).tolist() == [int(k.sum()) for k in (a & ~b, ~a & b, a & b, ~a & ~b)]
    assert counts.shape[:2] == (40, 40) == (len(figure.data[0].y), len(figure.data[0].x))
    corner = a[:2, :3] & ~b[:2, :3]  # 90 rows and 130 columns in 40 blocks each: the first has 2 x 3 weights
    assert counts[0, 0, 0] == corner.sum() and counts[0, 0].sum() == 6
    overview = np.array(image(figure, 0))
    assert overview.shape == (40, 40, 3)
    empty = counts[..., :3].sum(-1) == 0
    assert (overview[empty] == 0xF0).all() and not (overview[~empty] == 0xF0).all(-1).any()


def test_the_menu_changes_layer_and_the_buttons_the_view(masks):
    figure = mask_map(*masks, LAYERS)
    layers, views = figure.layout.updatemenus
    assert [choice.label for choice in layers.buttons] == ["hidden", "output", "convolution"]
    traces, layout, which = layers.buttons[2].args
    assert list(which) == [0] and np.array(traces["customdata"][0]).sum() == 6 * 27
    assert list(layout["xaxis.range"]) == [-0.5, 26.5] and list(layout["yaxis.range"]) == [5.5, -0.5]
    assert layout["images[1].sizex"] == 27 and layout["title.text"].startswith("convolution: both")
    shown = [views.buttons[i].args[1] for i in (0, 1)]
    assert [one["images[0].visible"] for one in shown] == [True, False]
    assert [one["images[1].visible"] for one in shown] == [False, True]


def test_a_layer_of_four_million_weights_weighs_less_than_a_megabyte():
    first, second = random_masks(0, w=(2000, 2000)), random_masks(1, w=(2000, 2000))
    sparse = [
        Masks({"w": masks["w"] & random_masks(i + 2, w=(2000, 2000))["w"]}) for i, masks in enumerate((first, second))
    ]
    assert 0.03 < sparse[0].kept() < 0.05
    assert len(json.dumps(mask_map(*sparse, {"w": "hidden"}).to_dict(), default=str)) < 1_000_000


def test_bad_layers_are_refused(masks):
    with pytest.raises(ValueError, match="layers is empty"):
        mask_map(*masks, {})
    with pytest.raises(ValueError, match="no mask named 'x'; the names are small, wide, kernel"):
        mask_map(*masks, {"x": "x"})
