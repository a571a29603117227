"""Masked training as the paper writes it, in as few words of plain PyTorch as possible: the oracle and the baseline.

Two uniform numbers and two logarithms a weight and sample (equation 1), straight-through by autograd (equation 2), one
batched product a layer for all K samples, Adam, the gradient's norm clipped, float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from modules_lib.datasets.scan import LONGEST_COMMAND, MOST_ACTIONS
from modules_lib.masking.masks import Masks
from modules_lib.masking.sample_weights import gumbel_sigmoid, straight_through
from modules_lib.masking.selection import weights_only
from modules_lib.models.encoder_decoder import with_end


class _WithLogits(nn.Module):
    """A frozen model and a logit for each of its weights."""

    model: nn.Module

    def __init__(self, model: nn.Module, start: float):
        super().__init__()
        where = weights_only(model)
        self.__dict__["model"] = model.eval()
        self.weights = {name: p.detach() for name, p in model.named_parameters() if where(name)}
        self.frozen = {name: p.detach() for name, p in model.named_parameters() if not where(name)}
        self.logits = nn.ParameterList(torch.full_like(weight, start) for weight in self.weights.values())


class PlainMaskedModel(_WithLogits):
    """What :class:`modules_lib.MaskedModel` computes, written plainly. The model must be one that vmap can batch."""

    def __init__(self, model: nn.Module, samples: int = 4, start: float = 2.0):
        super().__init__(model, start)
        self.samples = samples

    def forward(self, x: Tensor) -> Tensor:
        masked = {}
        for (name, weight), logits in zip(self.weights.items(), self.logits, strict=True):
            # The floor keeps the logarithms finite.
            u1, u2 = torch.rand(2, self.samples, *weight.shape, device=weight.device).clamp_(min=1e-10, max=1 - 1e-7)
            masked[name] = weight * straight_through(gumbel_sigmoid(logits, u1, u2))  # [K, *shape]
        groups = x.view(self.samples, -1, *x.shape[1:])
        return vmap(lambda w, x: functional_call(self.model, self.frozen | w, x))(masked, groups).flatten(0, 1)

    def masks(self) -> Masks:
        return Masks({name: logits.detach() > 0 for name, logits in zip(self.weights, self.logits, strict=True)})


def plain_step(
    masked: PlainMaskedModel,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    alpha: float,
    clip: float = 1.0,
) -> Tensor:
    """One step of mask training; returns the data loss."""
    optimizer.zero_grad()
    data_loss = loss(masked(inputs), targets)
    (data_loss + alpha * sum(logits.sum() for logits in masked.logits)).backward()
    nn.utils.clip_grad_norm_(masked.parameters(), clip)
    optimizer.step()
    return data_loss.detach()


class HardConcreteModel(_WithLogits):
    """The mask of peers: hard concrete (Louizos et al., 2018, equations 10 to 12), one sample a batch, by autograd."""

    def __init__(self, model: nn.Module, start: float = 2.0, beta: float = 2 / 3, low: float = -0.1, high: float = 1.1):
        super().__init__(model, start)
        self.beta, self.low, self.high = beta, low, high

    def forward(self, x: Tensor) -> Tensor:
        masked = {}
        for (name, weight), logits in zip(self.weights.items(), self.logits, strict=True):
            u = torch.rand_like(weight).clamp_(1e-6, 1 - 1e-6)
            soft = torch.sigmoid((torch.log(u) - torch.log(1 - u) + logits) / self.beta)
            masked[name] = weight * (soft * (self.high - self.low) + self.low).clamp(0, 1)
        return functional_call(self.model, self.frozen | masked, x)

    def kept(self) -> Tensor:
        """The expected number of weights that are not zero, which the penalty is on."""
        shift = self.beta * math.log(-self.low / self.high)
        return torch.stack([torch.sigmoid(logits - shift).sum() for logits in self.logits]).sum()


def hard_concrete_step(
    masked: HardConcreteModel,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    alpha: float,
) -> Tensor:
    """One step of the peers' mask training; returns the data loss."""
    optimizer.zero_grad()
    data_loss = loss(masked(inputs), targets)
    (data_loss + alpha * masked.kept()).backward()
    optimizer.step()
    return data_loss.detach()


class Cells(nn.Module):
    """A stack of LSTM layers, cell by cell, since vmap cannot batch PyTorch's whole LSTM."""

    def __init__(self, inputs: int, state: int, layers: int):
        super().__init__()
        self.state = state
        sizes = [inputs] + [state] * (layers - 1)
        self.inner = nn.ModuleList(nn.Linear(size, 4 * state) for size in sizes)
        self.recurrent = nn.ModuleList(nn.Linear(state, 4 * state) for _ in sizes)

    def start(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        zero = x.new_zeros(len(x), self.state)
        return [(zero, zero) for _ in self.inner]

    def forward(self, x: Tensor, states: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """One step: [batch, inputs] and every layer's state -> [batch, state] and the states after it."""
        after = []
        for inner, recurrent, (h, c) in zip(self.inner, self.recurrent, states, strict=True):
            input_, forget, cell, output = (inner(x) + recurrent(h)).chunk(4, -1)
            c = torch.sigmoid(forget) * c + torch.sigmoid(input_) * torch.tanh(cell)
            x = torch.sigmoid(output) * torch.tanh(c)
            after.append((x, c))
        return x, after


class CellLSTM(nn.Module):
    """:class:`modules_lib.models.paper_networks.RepeatLSTM`, cell by cell."""

    def __init__(self, inputs: int, state: int, outputs: int, layers: int = 2, steps: int = 3):
        super().__init__()
        self.steps = steps
        self.cells = Cells(inputs, state, layers)
        self.output = nn.Linear(state, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states = self.cells.start(x)
        for _ in range(self.steps):
            seen, states = self.cells(x, states)
        return self.output(seen)


class CellEncoderDecoder(nn.Module):
    """:class:`modules_lib.models.encoder_decoder.EncoderDecoder`, cell by cell, with sequences padded to the longest.

    Attributes:
        teach: whether the decoder is fed the right answers; else its own.
        longest: the columns of an input that are words, and those that are its answer.
    """

    def __init__(
        self,
        words: int,
        tokens: int,
        end: int,
        longest: tuple[int, int] = (LONGEST_COMMAND, MOST_ACTIONS + 1),
        embedding: int = 16,
        state: int = 200,
        layers: int = 2,
    ):
        super().__init__()
        self.end, self.word_end, self.teach, self.longest = end, words, True, longest
        self.words, self.tokens = nn.Embedding(words + 1, embedding), nn.Embedding(tokens, embedding)
        self.encoder, self.decoder = Cells(embedding, state, layers), Cells(embedding, state, layers)
        self.output = nn.Linear(state, tokens)

    def forward(self, both: Tensor) -> Tensor:
        """int64 [batch, W + T], words and answers, -1 where a sequence has ended -> scores [batch, T, tokens]."""
        words, answers = both.split(self.longest, 1)
        words = with_end(words, self.word_end)
        embedded = self.words(words.clamp(min=0))  # [batch, W + 1, embedding]
        states = self.encoder.start(embedded[:, 0])
        for step in range(words.shape[1]):
            _, after = self.encoder(embedded[:, step], states)
            going = words[:, step, None] >= 0
            states = [
                (torch.where(going, h, old_h), torch.where(going, c, old_c))
                for (h, c), (old_h, old_c) in zip(after, states, strict=True)
            ]
        scores, token = [], torch.full_like(answers[:, 0], self.end)
        for step in range(answers.shape[1]):
            seen, states = self.decoder(self.tokens(token), states)
            scores.append(self.output(seen))
            token = answers[:, step].clamp(min=0) if self.teach else scores[-1].argmax(-1)
        return torch.stack(scores, 1)
