"""The paper's networks, as plain torch modules that know nothing of masks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modules_lib.models.first_weights import begin_fnn, begin_lstm
from modules_lib.models.lstm_layer import layers_of
from modules_lib.models.packing import linear


class FNN(nn.Module):
    """A feedforward network with ReLU between its layers; 2000-2000-2000-2000 in the paper (appendix C).

    Args:
        inputs, hidden, outputs: numbers of units.
        first_weights: "released" or "xavier", as for :func:`modules_lib.models.first_weights.begin_fnn`.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, first_weights: str = "released"):
        super().__init__()
        sizes = [inputs, *hidden, outputs]
        layers = [nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
        self.layers = nn.ModuleList(layers)
        begin_fnn(layers, first_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network: [batch, inputs] -> [batch, outputs]."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


class RepeatLSTM(nn.Module):
    """An LSTM that is shown its input for some steps; the output is read after the last (sections 3.1 and 3.2).

    Args:
        inputs, state, outputs, layers: sizes, and the number of layers.
        steps: how many times the input is shown.
        first_weights: of the LSTM, "released", "xavier" or "pytorch", as for
            :func:`modules_lib.models.first_weights.begin_lstm`. The output layer begins as PyTorch's.
    """

    def __init__(
        self, inputs: int, state: int, outputs: int, layers: int = 2, steps: int = 3, first_weights: str = "released"
    ):
        super().__init__()
        self.steps = steps
        self.lstm = nn.LSTM(inputs, state, layers)
        self.output = nn.Linear(state, outputs)
        begin_lstm(self.lstm, first_weights)

    def forward(self, x: Tensor) -> Tensor:
        """Show the input and read the output: [batch, inputs] -> [batch, outputs].

        Or presentations [batch, P, inputs] -> [batch, P, outputs]: each is shown for all steps and answered before the
        next, and the state is not reset in between.
        """
        if x.dim() == 2:
            return self(x.unsqueeze(1)).squeeze(1)
        shown = x.transpose(0, 1).repeat_interleave(self.steps, 0)  # [P * steps, batch, inputs]
        states, _ = self.lstm(shown)  # [P * steps, batch, state]
        return self.output(states[self.steps - 1 :: self.steps]).transpose(0, 1)

    def forward_samples(self, weights: dict[str, Tensor], x: Tensor) -> Tensor:
        """Run :meth:`forward` with K sets of weights, each for its part of the batch.

        Args:
            weights: name -> [K, ...], or [1, ...] where all parts have the same.
        """
        if x.dim() == 2:
            return self.forward_samples(weights, x.unsqueeze(1)).squeeze(1)
        groups = max(len(weight) for weight in weights.values())
        shown = x.unflatten(0, (groups, -1)).transpose(1, 2).repeat_interleave(self.steps, 1)
        _, steps, size, _ = shown.shape  # [K, P * steps, b, inputs]
        zero = (x.new_zeros(groups, size, self.lstm.hidden_size),) * 2
        states = shown.flatten(1, 2)  # [K, N, inputs]
        for layer in layers_of("lstm", weights, [zero] * self.lstm.num_layers, [size] * steps):
            states, _ = layer.run(states)  # [K, N, state]
        read = states.unflatten(1, (-1, size))[:, self.steps - 1 :: self.steps]  # [K, P, b, state]
        outputs = linear(read.flatten(1, 2), weights["output.weight"], weights["output.bias"])
        return outputs.unflatten(1, (-1, size)).transpose(1, 2).flatten(0, 1)  # [B, P, outputs]


class CNN(nn.Module):
    """The classifier of Table 1 (appendix G) for images of 3 x 32 x 32.

    Args:
        classes: how many.
        dropout: the proportion after each convolution.
    """

    def __init__(self, classes: int = 10, dropout: Sequence[float] = (0.0, 0.0, 0.25, 0.5)):
        super().__init__()
        channels = [3, 32, 64, 128, 256]
        pairs = zip(channels[:-1], channels[1:], strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.dropouts = nn.ModuleList(nn.Dropout(rate) for rate in dropout)
        self.classifier = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes of images: [batch, 3, 32, 32] -> [batch, classes]."""
        for i, (convolution, dropout) in enumerate(zip(self.convolutions, self.dropouts, strict=True)):
            x = dropout(convolution(x))
            if i < len(self.convolutions) - 1:
                x = torch.max_pool2d(x, 2)
            x = torch.relu(x)  # last, on a quarter of the numbers: it changes places with the other two, bit for bit
        return self.classifier(x.mean((2, 3)))
