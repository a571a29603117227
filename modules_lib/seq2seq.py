"""The encoder-decoder LSTM of appendix F, as a plain torch module that knows nothing of masks.

A batch costs its tokens rather than its longest sequence: sequences of similar length are run together, and sequences
that have ended leave the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

State = tuple[Tensor, Tensor]  # of an LSTM: [layers, batch, state] each
TOGETHER = 16  # sequences that are padded to the longest of them


class EncoderDecoder(nn.Module):
    """Reads a sequence of words and writes a sequence of tokens, which ends with the token ``end``.

    Args:
        words, tokens: how many there are, ``end`` included.
        end: the token that ends an answer; the decoder is also given it first.
        embedding, state, layers, dropout: sizes, and the rate of dropout between layers and before the output.
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
    ):
        super().__init__()
        self.end = end
        self.words = nn.Embedding(words, embedding)
        self.tokens = nn.Embedding(tokens, embedding)
        self.encoder = nn.LSTM(embedding, state, layers, dropout=dropout)
        self.decoder = nn.LSTM(embedding, state, layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(state, tokens)

    def forward(self, words: Tensor, answers: Tensor, teach: bool = True) -> Tensor:
        """The scores of every token of the answers, one answer after another.

        Args:
            words: int64 [B, W], -1 where a sequence has ended.
            answers: int64 [B, T], ``end`` included, then -1.
            teach: feed the answers back into the decoder; otherwise what it finds most likely itself, in a pass before
                this one, which in training has its own draw of dropout.

        Returns:
            [number of tokens in the answers, tokens], in the order of ``answers[answers >= 0]``.
        """
        state, lengths = self.read(words), (answers >= 0).sum(1)
        if teach:
            first = torch.full_like(answers[:, :1], self.end)
            fed = torch.cat([first, answers[:, :-1].clamp(min=0)], 1)
        else:
            fed = self._own_answers(state, lengths)
        rows, states = [], []
        for part in lengths.argsort(descending=True).split(TOGETHER):
            own = lengths[part]
            there = torch.arange(int(own[0]), device=own.device) < own[:, None]  # [b, t]
            inputs = self.tokens(fed[part, : int(own[0])]).transpose(0, 1)  # [t, b, embedding]
            outputs, _ = self.decoder(inputs, _select(state, part))
            states.append(outputs.transpose(0, 1)[there])  # [tokens of the part, state]
            rows.append(part[:, None].expand_as(there)[there])
        order = torch.cat(rows).argsort(stable=True)  # within a row, time is in order already
        return self.output(self.dropout(torch.cat(states)[order]))

    def read(self, words: Tensor) -> State:
        """int64 [B, W] -> the encoder's state after each sequence."""
        embedded = self.words(words.clamp(min=0)).transpose(0, 1)  # [W, B, embedding]
        lengths = (words >= 0).sum(1).cpu()
        return self.encoder(pack_padded_sequence(embedded, lengths, enforce_sorted=False))[1]

    @torch.no_grad()
    def _own_answers(self, state: State, lengths: Tensor) -> Tensor:
        """What the decoder is fed if it is fed its own answers: int64 [B, T]. Gradients do not pass through them."""
        order = lengths.argsort(descending=True)
        longest = lengths[order].tolist()
        fed = order.new_full((len(order), longest[0]), self.end)
        token, state = fed[:, 0], _select(state, order)
        for step in range(1, longest[0]):
            active = sum(length > step for length in longest)
            token, state = self._next(token[:active], (state[0][:, :active], state[1][:, :active]))
            fed[order[:active], step] = token
        return fed

    def _next(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """[b] -> the most likely next token [b], and the state after it.

        One step, cell by cell: nn.LSTM prepares its weights anew in every call, which takes longer than the step.
        """
        outputs = self.tokens(token)  # [b, embedding]
        hidden, cells = [], []
        for layer, weights in enumerate(self.decoder.all_weights):
            below = outputs if layer == 0 else self.dropout(outputs)
            outputs, cell = torch.lstm_cell(below, [state[0][layer], state[1][layer]], *weights)  # [b, state]
            hidden.append(outputs)
            cells.append(cell)
        return self.output(self.dropout(outputs)).argmax(-1), (torch.stack(hidden), torch.stack(cells))

    @torch.no_grad()
    def write(self, words: Tensor, most: int) -> Tensor:
        """Greedy decoding: int64 [B, W] -> [B, most], ``end`` included where it comes in time, then -1."""
        answers = words.new_full((len(words), most), -1)
        rows, state = torch.arange(len(words), device=words.device), self.read(words)
        token = torch.full_like(rows, self.end)
        for step in range(most):
            token, state = self._next(token, state)
            answers[rows, step] = token
            going = token != self.end
            if not going.any():
                break
            rows, token, state = rows[going], token[going], _select(state, going)
        return answers


def _select(state: State, rows: Tensor) -> State:
    return state[0][:, rows], state[1][:, rows]
