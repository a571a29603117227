"""An encoder-decoder transformer of torch's own layers, as of the released code, which knows nothing of masks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modules_lib.models.encoder_decoder import with_end

ANSWERS_AT_ONCE = 512


class Transformer(nn.Module):
    """Reads a sequence of words and writes a sequence of tokens, which ends with the token ``end``.

    Args:
        words, tokens: how many there are; of the tokens one is ``end``.
        end: the token that ends an answer; the decoder is also given it first.
        longest: the most tokens of an answer, and the most words of a command, each with its end.
        state: size of the embeddings and of all states; divisible by ``heads``, and even.
        heads: of each attention layer.
        blocks: of the encoder, and as many of the decoder.
        feedforward: units between the two linear layers of a block.
        dropout: its rate while weights are trained.
        together: sequences that are computed at once, cut to the longest of them: batches in order of length cost
            least.
    """

    places: Tensor

    def __init__(
        self,
        words: int,
        tokens: int,
        end: int,
        longest: int,
        state: int = 100,
        heads: int = 4,
        blocks: int = 3,
        feedforward: int = 200,
        dropout: float = 0.1,
        together: int = 32,
    ):
        super().__init__()
        self.end, self.word_end, self.together = end, words, together
        self.words = nn.Embedding(words + 1, state)
        self.tokens = nn.Embedding(tokens, state)
        encoder = nn.TransformerEncoderLayer(state, heads, feedforward, dropout, batch_first=True)
        decoder = nn.TransformerDecoderLayer(state, heads, feedforward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, blocks, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, blocks)
        self.output = nn.Linear(state, tokens)
        self.register_buffer("places", _waves(longest, state), persistent=False)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters(), *self.output.parameters()):
            if parameter.dim() > 1:  # torch's copies of one block begin alike
                nn.init.xavier_uniform_(parameter)

    def forward(self, words: Tensor, answers: Tensor) -> Tensor:
        """Score every token at each place of the answers, given those before it: [B, T, tokens], zero behind the end.

        Args:
            words: int64 [B, W], -1 where a sequence has ended.
            answers: int64 [B, T], ``end`` included, then -1.
        """
        rows = torch.arange(len(words), device=words.device).split(self.together)
        return torch.cat([self._scores(words[part], answers[part]) for part in rows])

    def _scores(self, words: Tensor, answers: Tensor) -> Tensor:
        longest = int((answers >= 0).sum(1).max())
        first = torch.full_like(answers[:, :1], self.end)
        given = torch.cat([first, answers[:, : longest - 1].clamp(min=0)], 1)
        scores = self.output(self._states(given, *self._read(words)))
        scores = scores.masked_fill(answers[:, :longest, None] < 0, 0.0)
        return F.pad(scores, (0, 0, 0, answers.shape[1] - longest))

    def _read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [B, W] -> the encoder's states [B, w, state], and where sequences have ended, bool [B, w]."""
        words = with_end(words, self.word_end)
        words = words[:, : int((words >= 0).sum(1).max())]
        ended = words < 0
        states = self.words(words.clamp(min=0)) + self.places[: words.shape[1]]
        return self.encoder(states, src_key_padding_mask=ended), ended

    def _states(self, given: Tensor, read: Tensor, ended: Tensor) -> Tensor:
        """The decoder's last states at every place of the tokens that it is given: int64 [B, t] -> [B, t, state]."""
        size = given.shape[1]
        later = torch.ones(size, size, dtype=torch.bool, device=given.device).triu(1)
        states = self.tokens(given) + self.places[:size]
        return self.decoder(states, read, later, memory_key_padding_mask=ended, tgt_is_causal=True)

    @torch.no_grad()
    def write(self, words: Tensor, most: int) -> Tensor:
        """Decode greedily: int64 [B, W] -> [B, most], ``end`` included where it comes in time, then -1."""
        answers = words.new_full((len(words), most), -1)
        rows = torch.arange(len(words), device=words.device)
        given = torch.full_like(words[:, :1], self.end)
        read, ended = self._read(words)
        for step in range(most):
            token = self.output(self._states(given, read, ended)[:, -1]).argmax(-1)  # [n]
            answers[rows, step] = token
            going = token != self.end
            if not going.any():
                break
            given = torch.cat([given, token[:, None]], 1)[going]
            rows, read, ended = rows[going], read[going], ended[going]
        return answers

    @torch.no_grad()
    def right(self, words: Tensor, answers: Tensor) -> Tensor:
        """Tell which answers :meth:`write` would give, without writing them one token after another: bool [B].

        An answer is written if each of its tokens is the most likely one behind those before it.
        """
        right = torch.zeros(len(words), dtype=torch.bool, device=words.device)
        for rows in (answers >= 0).sum(1).argsort().split(ANSWERS_AT_ONCE):
            best, asked = self._scores(words[rows], answers[rows]).argmax(-1), answers[rows]
            right[rows] = ((best == asked) | (asked < 0)).all(1)
        return right


def _waves(places: int, size: int) -> Tensor:
    """Sines and cosines of the places, of wavelengths from 2 pi to 20,000 pi: [places, size]."""
    speeds = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(places)[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
