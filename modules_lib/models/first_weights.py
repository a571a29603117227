"""First weights of the paper's networks. The paper says nothing of them; its released code does.

With "released", every network begins as in that code. The other kinds are this reproduction's earlier choices, kept to
measure the effect of the choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from modules_lib.support.checks import check_choice

FNN_WEIGHTS = ("released", "xavier")
LSTM_WEIGHTS = ("released", "xavier", "pytorch")
GATES = ("input", "forget", "cell", "output")  # PyTorch's, in rows


def begin_fnn(layers: Sequence[nn.Linear], kind: str) -> None:
    """Set the first weights and biases of a feedforward network with ReLU.

    Args:
        layers: from input to output.
        kind: "released" leaves PyTorch's own: uniform, of deviation 1 / sqrt(3 inputs). "xavier" draws normal weights
            of deviation gain * sqrt(2 / (inputs + outputs)), with ReLU's gain before a ReLU, and zero biases.

    Raises:
        ValueError: there is no such kind.
    """
    if check_choice("kind of first weights", kind, FNN_WEIGHTS) == "released":
        return
    for layer in layers:
        nn.init.xavier_normal_(layer.weight, gain=1.0 if layer is layers[-1] else nn.init.calculate_gain("relu"))
        nn.init.zeros_(layer.bias)


def begin_lstm(lstm: nn.LSTM, kind: str) -> None:
    """Set the first weights and biases of an LSTM.

    Args:
        lstm: of any number of layers; with H units and I inputs in a layer:
        kind: "released" draws normal weights of deviation 1 / sqrt(I + H) for inputs and 1 / sqrt(2 H) for the state.
            In the cell gate, input weights are 5/3 times as large, and state weights orthogonal with gain
            5 / (3 sqrt 2). Biases are 0, the forget gate's 1; PyTorch's second bias vector stays 0, untrained.
            "xavier" has, gate by gate, Xavier's input weights and orthogonal state weights, the same biases, and trains
            both vectors. "pytorch" leaves PyTorch's own, uniform up to 1 / sqrt(H), the forget gate's bias too.

    Raises:
        ValueError: there is no such kind.
    """
    check_choice("kind of first weights", kind, LSTM_WEIGHTS)
    for layer in range(lstm.num_layers if kind != "pytorch" else 0):
        inputs, states, bias, second = (
            getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if kind == "released":
            _released(inputs, states)
        else:
            _xavier(inputs, states)
        nn.init.zeros_(bias)
        nn.init.zeros_(second)
        _gate("forget", bias if kind == "released" else second).fill_(1.0)
        second.requires_grad_(kind != "released")


def _released(inputs: nn.Parameter, states: nn.Parameter) -> None:
    units, size = states.shape[1], inputs.shape[1]
    nn.init.normal_(inputs, std=math.sqrt(2 / (size + units)) / math.sqrt(2))
    nn.init.normal_(states, std=math.sqrt(1 / units) / math.sqrt(2))
    with torch.no_grad():
        _gate("cell", inputs).mul_(5 / 3)
    nn.init.orthogonal_(_gate("cell", states), gain=5 / 3 / math.sqrt(2))


def _xavier(inputs: nn.Parameter, states: nn.Parameter) -> None:
    for gate in inputs.chunk(4):
        nn.init.xavier_normal_(gate)
    for gate in states.chunk(4):
        nn.init.orthogonal_(gate)


def _gate(name: str, parameter: nn.Parameter) -> torch.Tensor:
    return parameter.detach().chunk(4)[GATES.index(name)]
