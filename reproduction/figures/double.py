"""The figures of section 3.2 and appendix D: double addition. Results are tables by network, as for addmul."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from modules_lib.analysis.maskmap import mask_map
from modules_lib.analysis.theme import COLOURS
from modules_lib.masking.masks import Masks
from reproduction.figures import bars
from reproduction.figures.names import PAIR_MASKS, Results
from reproduction.runs.measures import DOUBLE, PAIR_NAMES


def accuracy_per_mask(published: Results, run: Results) -> go.Figure:
    """Draw Figures 3 and 13: accuracy on each pair under every mask and inverted mask, in per cent."""
    return bars.accuracy_panels(published, run, DOUBLE, PAIR_NAMES, PAIR_MASKS)


def sharing_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw Figure 12: the share of each pair's weights that the other uses too, by layer, in per cent."""
    return bars.sharing(published, run, DOUBLE, PAIR_NAMES)


def weights_per_layer(published: Results, run: Results) -> go.Figure:
    """Draw the number of weights that each pair keeps, by layer."""
    return bars.one_legend_entry_each(bars.per_layer(published, run, DOUBLE, PAIR_NAMES, bars.KEPT))


def pair_map(first: Masks, second: Masks, layers: Mapping[str, str]) -> go.Figure:
    """Map the weights that each pair's mask keeps, in the colours of the pairs; arguments as of ``mask_map``."""
    one, other = PAIR_NAMES
    return mask_map(first, second, layers, (PAIR_NAMES[one], PAIR_NAMES[other]), (COLOURS[one], COLOURS[other]))
