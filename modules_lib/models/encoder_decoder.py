"""The encoder-decoder LSTM of appendix F, as a plain torch module that knows nothing of masks.

It can run K sets of weights at once, each on its part of a batch, so that K mask samples cost one pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.models.first_weights import begin_lstm
from modules_lib.models.lstm_layer import Layer, State, layers_of
from modules_lib.models.packing import Packing, embedded, linear
from modules_lib.support.checks import check_choice

DROPPED = ("embeddings", "output")
Weights = dict[str, Tensor]  # of K networks: parameter -> [K, ...], or [1, ...] where all have the same


class EncoderDecoder(nn.Module):
    """Reads a sequence of words and writes a sequence of tokens, which ends with the token ``end``.

    ``encoder`` and ``decoder`` hold weights; :mod:`modules_lib.models.lstm_layer` runs them.

    Args:
        words, tokens: how many there are; of the tokens one is ``end``.
        end: the token that ends an answer; the decoder is also given it first.
        embedding, state, layers: sizes, and the number of layers.
        dropout: its rate, between layers and in a second place.
        dropped: the second place: "embeddings", as in the released code, or "output", before the output layer.
        read_end: whether the encoder reads an end after the last word, as in the released code.
        first_weights: of both LSTMs, "released", "xavier" or "pytorch", as for
            :func:`modules_lib.models.first_weights.begin_lstm`.

    Raises:
        ValueError: there is no such second place, or no such kind of first weights.
    """

    def __init__(
        self,
        words: int,
        tokens: int,
        end: int,
        embedding: int = 16,
        state: int = 200,
        layers: int = 2,
        dropout: float = 0.5,
        dropped: str = "embeddings",
        read_end: bool = True,
        first_weights: str = "released",
    ):
        super().__init__()
        self.end, self.dropped = end, check_choice("place of dropout", dropped, DROPPED)
        self.word_end = words if read_end else None  # behind the words
        self.words = nn.Embedding(words + read_end, embedding)
        self.tokens = nn.Embedding(tokens, embedding)
        self.encoder = nn.LSTM(embedding, state, layers)
        self.decoder = nn.LSTM(embedding, state, layers)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(state, tokens)
        for lstm in (self.encoder, self.decoder):
            begin_lstm(lstm, first_weights)

    def forward(self, words: Tensor, answers: Tensor, teach: bool = True) -> Tensor:
        """Score every token at each place of the answers: [B, T, tokens], zero behind the end of an answer.

        Args:
            words: int64 [B, W], -1 where a sequence has ended.
            answers: int64 [B, T], ``end`` included, then -1.
            teach: feed the answers to the decoder; otherwise its own most likely tokens, chosen without gradient
                and, in training, with a draw of dropout of their own.

        Raises:
            ValueError: a sequence is empty.
        """
        return self.forward_samples(self._own_weights(), words, answers, teach)

    def forward_samples(self, weights: Weights, words: Tensor, answers: Tensor, teach: bool = True) -> Tensor:
        """Run :meth:`forward` with K sets of weights, each for its part of the batch.

        Args:
            weights: name -> [K, ...], or [1, ...] where all parts have the same.
        """
        groups = max(len(weight) for weight in weights.values())
        packing = Packing(answers >= 0, groups)
        layers = layers_of("decoder", weights, self._read(weights, words, packing.order), packing.counts)
        if teach:
            first = torch.full_like(answers[:, :1], self.end)
            fed = packing.pack(torch.cat([first, answers[:, :-1].clamp(min=0)], 1))  # [K, N]
        else:
            fed = self._own_answers(weights, layers, packing.counts)
            if self.dropout.training:  # the choice had its own draw of it
                layers = layers_of("decoder", weights, [layer.state for layer in layers], packing.counts)
        outputs, _ = self._run(layers, self._embedded(weights["tokens.weight"], fed))[-1]
        return packing.unpack(self._scores(weights, outputs))

    def _own_weights(self) -> Weights:
        return {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}

    def _embedded(self, table: Tensor, tokens: Tensor) -> Tensor:
        """[K or 1, V, E], int64 [K, n] -> the first layer's input [K, n, E]."""
        x = embedded(table, tokens)
        return self.dropout(x) if self.dropped == "embeddings" else x

    def _run(self, layers: list[Layer], x: Tensor) -> list[State]:
        """[K, N, in] -> the state of each layer after every token, [K, N, state] twice."""
        states: list[State] = []
        for layer in layers:
            states.append(layer.run(self.dropout(states[-1][0]) if states else x))
        return states

    def _scores(self, weights: Weights, outputs: Tensor) -> Tensor:
        """[K, n, state] -> [K, n, tokens]"""
        outputs = self.dropout(outputs) if self.dropped == "output" else outputs
        return linear(outputs, weights["output.weight"], weights["output.bias"])

    def _read(self, weights: Weights, words: Tensor, order: Tensor) -> list[State]:
        """int64 [B, W] -> the state of each layer after the sequences in this order, [K, b]: [K, b, state] twice."""
        if self.word_end is not None:
            words = with_end(words, self.word_end)
        lengths, (groups, size) = (words >= 0).sum(1), order.shape
        packing = Packing(words >= 0, groups)
        x = self._embedded(weights["words.weight"], packing.pack(words.clamp(min=0)))  # [K, N, embedding]
        zero = (x.new_zeros(groups, size, self.encoder.hidden_size),) * 2
        layers = layers_of("encoder", weights, [zero] * self.encoder.num_layers, packing.counts)
        last = packing.at(order, lengths[order] - 1).unsqueeze(2)  # [K, b, 1]
        last = last.expand(-1, -1, self.encoder.hidden_size)
        return [(h.gather(1, last), c.gather(1, last)) for h, c in self._run(layers, x)]

    @torch.no_grad()
    def _own_answers(self, weights: Weights, layers: list[Layer], counts: list[int]) -> Tensor:
        """The decoder's own answers, to be fed to it: int64 [K, N]. Gradients do not pass through them."""
        token = torch.full((len(layers[0].h), counts[0]), self.end, device=layers[0].h.device)  # [K, b]
        fed = []
        for n in counts:
            fed.append(token[:, :n])
            token = self._next(weights, layers, fed[-1])
        return torch.cat(fed, 1)

    def _next(self, weights: Weights, layers: list[Layer], token: Tensor) -> Tensor:
        """int64 [K, n] -> the most likely next token [K, n], after a step of each layer."""
        x = self._embedded(weights["tokens.weight"], token)
        for i, layer in enumerate(layers):
            x = layer.step(x if i == 0 else self.dropout(x))
        return self._scores(weights, x).argmax(2)

    @torch.no_grad()
    def write(self, words: Tensor, most: int) -> Tensor:
        """Decode greedily: int64 [B, W] -> [B, most], ``end`` included where it comes in time, then -1."""
        answers, weights = words.new_full((len(words), most), -1), self._own_weights()
        rows = torch.arange(len(words), device=words.device)
        token, states = torch.full_like(rows, self.end), self._read(weights, words, rows[None])
        for step in range(most):
            layers = layers_of("decoder", weights, states, [len(rows)])
            [token] = self._next(weights, layers, token[None])  # [n]
            answers[rows, step] = token
            going = token != self.end
            if not going.any():
                break
            rows, token = rows[going], token[going]
            states = [(layer.h[:, going], layer.c[:, going]) for layer in layers]  # [1, n, state] twice
        return answers


def with_end(words: Tensor, end: int) -> Tensor:
    """Put an end behind each sequence: int64 [B, W], -1 where one has ended -> [B, W + 1]. An empty one stays empty."""
    lengths = (words >= 0).sum(1, keepdim=True)  # [B, 1]
    longer = F.pad(words, (0, 1), value=-1)
    return longer.scatter(1, lengths, torch.where(lengths > 0, end, -1))
