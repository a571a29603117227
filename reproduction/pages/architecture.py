"""Table 1 of the paper: the layers of the CNN, read from the network itself."""

from __future__ import annotations

from IPython.display import Markdown
from torch import nn

from modules_lib.models.paper_networks import CNN


def cnn_table(network: CNN) -> Markdown:
    """Write the layers of the CNN as the paper's Table 1: operation, channels, kernel, padding, activation, dropout."""
    heads = ("", "operation", "inputs", "outputs", "kernel", "padding", "activation", "dropout")
    rows: list[tuple[object, ...]] = []
    last = len(network.convolutions) - 1
    for i in range(last + 1):
        convolution, dropout = network.get_submodule(f"convolutions.{i}"), network.get_submodule(f"dropouts.{i}")
        assert isinstance(convolution, nn.Conv2d) and isinstance(dropout, nn.Dropout)
        size, padding = (" x ".join(map(str, numbers)) for numbers in (convolution.kernel_size, convolution.padding))
        channels = convolution.in_channels, convolution.out_channels
        rows.append(("convolution", *channels, size, padding, "ReLU", dropout.p or "-"))
        if i < last:
            rows.append(("maximum pooling", channels[1], channels[1], "2 x 2", "-", "-", "-"))
    units = network.classifier.in_features
    rows.append(("spatial average", units, units, "-", "-", "-", "-"))
    rows.append(("linear", units, network.classifier.out_features, "-", "-", "softmax", "-"))
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {i} | {' | '.join(map(str, row))} |" for i, row in enumerate(rows, 1)]
    return Markdown("\n".join(lines))
