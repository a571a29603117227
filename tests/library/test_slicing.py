"""A batch is cut where it can be; arguments and outputs that it is not in are named, once, with the first batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import (
    MaskedModel,
    find_masks,
    train_masks,
)
from tests.library.kept import BATCH, K, outputs_of


class Attends(nn.Module):
    """Self-attention over [batch, tokens, 4] with a mask [tokens, tokens] that all sequences share."""

    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x, mask):
        return self.inner(x, x, x, attn_mask=mask)[0]


@pytest.mark.parametrize("tokens", [3, BATCH])
def test_an_argument_that_is_no_batch_is_named(tokens):
    x, mask = torch.randn(BATCH, tokens, 4), torch.ones(tokens, tokens).tril().log()
    with pytest.raises(ValueError, match=r"'mask'.*give shared=\('mask',\)"):
        MaskedModel(Attends(), K)(x, mask)
    ours, theirs, _ = outputs_of(Attends(), x, mask, options={"shared": ("mask",)})
    torch.testing.assert_close(ours, theirs)
    ours, theirs, _ = outputs_of(Attends(), x, mask=mask, options={"shared": ["mask"]})
    torch.testing.assert_close(ours, theirs)
    ours, theirs, _ = outputs_of(Attends(), x, mask, options={"shared": (1,)})
    torch.testing.assert_close(ours, theirs)


class Graph(nn.Module):
    """A layer over nodes [N, 5] joined by edges [2, E]."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x, edge_index):
        source, target = edge_index
        return self.inner(x).index_add(0, target, self.inner(x)[source])


def test_a_graph_is_run_as_a_whole():
    x, edges = torch.randn(BATCH, 5), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    with pytest.raises(ValueError, match="edge_index"):
        MaskedModel(Graph(), K)(x, edges)
    masked = find_masks(
        Graph(), {"all": lambda step: ((x, edges), torch.zeros(BATCH, 3))}, F.mse_loss, alpha=1e-3, steps=5, whole=True,
        samples=3, progress=False,
    )["all"]  # fmt: skip
    assert masked.size() == 15


def test_whole_batches_under_k_masks_have_the_mean_loss():
    x, target, K = torch.randn(3, 5), torch.randn(3, 2), 4
    losses = []
    model = nn.Linear(5, 2)
    masked = MaskedModel(model, 1, start=0.0, seed=2)
    train_masks(masked, lambda step: (x, target), F.mse_loss, steps=1, alpha=0.0)
    again = MaskedModel(model, 1, start=0.0, seed=2)
    from modules_lib.training.loops import mask_steps

    [mean] = mask_steps(again, lambda step: (x, target), F.mse_loss, steps=1, alpha=0.0, passes=K)
    fresh = MaskedModel(model, 1, start=0.0, seed=2)
    losses = [F.mse_loss(fresh(x), target).detach() for _ in range(K)]
    torch.testing.assert_close(mean, torch.stack(losses).mean())
    assert again.step == K and not torch.equal(again.logits, masked.logits)


class Recurrent(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.inner = nn.LSTM(5, 6, batch_first=batch_first)

    def forward(self, x, h0=None, c0=None):
        return self.inner(x, None if h0 is None else (h0, c0))


def test_states_of_recurrent_layers_have_the_batch_where_they_have_it():
    ours, theirs, _ = outputs_of(Recurrent(), torch.randn(BATCH, 3, 5))
    torch.testing.assert_close(ours, theirs)
    states = [torch.randn(1, BATCH, 6) for _ in range(2)]
    with pytest.raises(ValueError, match=r"'h0' of shape \(1, 4, 6\) has no batch of 4.*batch_dims=\{'h0': 1\}"):
        MaskedModel(Recurrent(), K)(torch.randn(BATCH, 3, 5), *states)
    options = {"batch_dims": {"h0": 1, "c0": 1}}
    ours, theirs, _ = outputs_of(Recurrent(), torch.randn(BATCH, 3, 5), *states, options=options)
    torch.testing.assert_close(ours, theirs)
    ours, theirs, _ = outputs_of(Recurrent(False), torch.randn(3, BATCH, 5), options={"batch_dims": 1})
    torch.testing.assert_close(ours, theirs)


class Packs(nn.Module):
    def __init__(self, total=None):
        super().__init__()
        self.inner, self.total = nn.LSTM(5, 6, batch_first=True), total

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.inner(packed)[0], batch_first=True, total_length=self.total)[0]


def test_sequences_packed_inside_are_refused_unless_their_length_is_fixed():
    x, lengths = torch.randn(BATCH, 7, 5), torch.tensor([7, 6, 3, 2])
    with pytest.raises(ValueError, match="its size on the longest of them; .*whole=True"):
        MaskedModel(Packs(), K)(x, lengths)
    ours, theirs, _ = outputs_of(Packs(7), x, lengths)
    torch.testing.assert_close(ours, theirs)
