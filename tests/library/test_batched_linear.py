"""One pass for all samples against one pass a slice: the same numbers where it is right, and never used where not."""

import pytest
import torch
from torch import nn

from modules_lib import MaskedModel, weights_only
from modules_lib.masking import batched_linear as batched
from modules_lib.models.paper_networks import FNN

K, BATCH = 4, 8


class Twice(nn.Module):
    """One layer used twice, another that is not masked, rows with a dimension of their own."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(6, 6, bias=False)
        self.frozen = nn.Linear(6, 6)

    def forward(self, x):
        return torch.tanh(self.shared(self.frozen(torch.tanh(self.shared(x))))).mean(1)


class TimeFirst(nn.Module):
    """Rows are steps inside, as many as the batch has entries: slices of them are not slices of the batch."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):  # [batch, time, 5]
        return self.inner(x.transpose(0, 1)).cumsum(0).transpose(0, 1)


class MixesRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x - x.mean(0))


class MixesRowsALittle(MixesRows):
    def forward(self, x):
        return 20 + 0.2 * super().forward(x)


class UsesTheWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 5)

    def forward(self, x):
        return self.inner(x) + x @ self.inner.weight


class Reader(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = kind(5, 6, batch_first=True)

    def forward(self, x):
        return self.inner(x)[0][:, -1]


RIGHT = {
    "fnn": (lambda: FNN(5, [40, 30], 3), (BATCH, 5)),
    "twice": (Twice, (BATCH, 4, 6)),
    "normalised": (lambda: nn.Sequential(nn.Linear(5, 9), nn.LayerNorm(9, elementwise_affine=False)), (BATCH, 5)),
}
WRONG = {
    "time first": (TimeFirst, (BATCH, BATCH, 5)),
    "mixes rows": (MixesRows, (BATCH, 5)),
    "mixes rows a little": (MixesRowsALittle, (BATCH, 5)),
    "uses the weight": (UsesTheWeight, (BATCH, 5)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (BATCH, BATCH, 4)),
    "lstm": (lambda: Reader(nn.LSTM), (BATCH, 3, 5)),
    "gru": (lambda: Reader(nn.GRU), (BATCH, 3, 5)),
    "convolution": (lambda: nn.Conv2d(3, 4, 3), (BATCH, 3, 5, 5)),
    "dead": (lambda: nn.Sequential(nn.Linear(5, 4), nn.Threshold(1e9, 0.0)), (BATCH, 5)),  # nothing to compare
}


def outputs_and_gradient(model, x, **options):
    where = weights_only(model)
    masked = MaskedModel(model, K, lambda name: where(name) and "frozen" not in name, 0.3, seed=5, **options)
    outputs = masked(x)
    outputs.square().mean().backward()
    return outputs.detach(), masked.logits.grad, masked


@pytest.mark.parametrize("block", [50, 10**9])
@pytest.mark.parametrize("name", RIGHT)
def test_all_samples_at_once_give_what_slices_give(monkeypatch, name, block):
    monkeypatch.setattr(batched, "BLOCK", block)
    torch.manual_seed(0)
    model, x = RIGHT[name][0](), torch.randn(RIGHT[name][1])
    by_slices, gradient, _ = outputs_and_gradient(model, x, batched=False)
    at_once, its_gradient, masked = outputs_and_gradient(model, x)
    assert masked.batched
    torch.testing.assert_close(at_once, by_slices)
    torch.testing.assert_close(its_gradient, gradient)


@pytest.mark.parametrize("name", WRONG)
def test_other_models_run_by_slices(name):
    torch.manual_seed(0)
    model, x = WRONG[name][0](), torch.randn(WRONG[name][1])
    expected, gradient, _ = outputs_and_gradient(model, x, batched=False)
    outputs, its_gradient, masked = outputs_and_gradient(model, x)
    assert not masked.batched
    assert torch.equal(outputs, expected) and torch.equal(its_gradient, gradient)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_outputs_are_contiguous_as_those_of_a_linear_layer(samples, bias):
    class Viewed(nn.Linear):
        def forward(self, x):
            return super().forward(x).view(-1, 2, 3)

    masked = MaskedModel(Viewed(5, 6, bias=bias), samples)
    assert masked(torch.randn(4, 5)).shape == (4, 2, 3) and masked.batched


def test_a_layer_that_the_loss_does_not_reach_has_no_gradient():
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "unused": nn.Linear(3, 2)})
    model.forward = lambda x: model["used"](x)
    masked = MaskedModel(model, 2, batched=True)
    masked(torch.randn(4, 3)).sum().backward()
    assert masked.logits.grad[:6].abs().min() > 0 and torch.all(masked.logits.grad[6:] == 0)


def test_a_second_backward_pass_gives_the_same_gradient():
    masked = MaskedModel(FNN(5, [7], 3), 2, batched=True)
    loss = masked(torch.randn(4, 5)).square().sum()
    loss.backward(retain_graph=True)
    first, masked.logits.grad = masked.logits.grad, None
    loss.backward()
    assert torch.equal(masked.logits.grad, first)


def test_a_partial_backward_pass_leaves_nothing_behind():
    gradients = []
    for batched_ in (False, True):
        torch.manual_seed(0)
        x = torch.randn(4, 5, requires_grad=True)
        masked = MaskedModel(FNN(5, [7], 3), 2, batched=batched_)
        loss = masked(x).square().sum()
        torch.autograd.grad(loss, x, retain_graph=True)
        loss.backward()
        gradients.append(masked.logits.grad)
    torch.testing.assert_close(*gradients)


def test_what_the_first_batch_happens_to_be_does_not_matter():
    masked = MaskedModel(MixesRows(), 2)
    masked(torch.zeros(4, 5))
    assert not masked.batched
    masked = MaskedModel(FNN(5, [7], 3), 2)
    with pytest.raises(ValueError, match="batch of 3 cannot be cut"):
        masked(torch.zeros(3, 5))
    masked(torch.zeros(4, 5))
    assert masked.batched and masked.step == 1


class DropsPadding(nn.Module):
    """Rows of zeros are left out, so that a layer sees fewer rows than the batch has."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        some = (x != 0).any(-1)
        return x.new_zeros(len(x), 3).index_put((some,), self.inner(x[some]))


def test_a_batch_that_needs_slices_gets_them_later():
    model, full, padded = DropsPadding(), torch.randn(4, 5), torch.randn(4, 5)
    padded[1] = 0.0
    tried, by_slices = (MaskedModel(model, 2, batched=b) for b in (None, False))
    for x, batched_ in ((full, True), (padded, False), (full, False)):
        torch.testing.assert_close(tried(x), by_slices(x))  # with the masks of the same step
        assert tried.batched is batched_
    with pytest.raises(batched.CannotBatchError):
        MaskedModel(model, 2, batched=True)(padded)


class RunsSamples(nn.Conv2d):
    """Runs K sets of weights as so many groups of one convolution; ``factor`` makes that wrong."""

    factor = 1.0

    def forward_samples(self, weights, x):
        samples, size = len(weights["weight"]), len(x) // len(weights["weight"])
        side_by_side = x.view(samples, size, *x.shape[1:]).transpose(0, 1).flatten(1, 2)  # [b, K * in, ...]
        bias = weights["bias"].expand(samples, -1).flatten()
        out = nn.functional.conv2d(side_by_side, weights["weight"].flatten(0, 1), bias, groups=samples)
        return self.factor * out.unflatten(1, (samples, -1)).transpose(0, 1).flatten(0, 1)


def test_a_model_may_run_the_samples_itself():
    model, x = RunsSamples(3, 4, 3), torch.randn(6, 3, 5, 5)
    outputs, gradients = [], []
    for batched_ in (None, False):
        masked = MaskedModel(model, 2, batched=batched_)
        outputs.append(masked(x))
        outputs[-1].square().sum().backward()
        gradients.append(masked.logits.grad)
        assert masked.batched is (batched_ is None)
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("factor", "reason"), [(1.01, "outputs are not those of the slices"), (None, "TypeError")])
def test_a_model_that_runs_the_samples_wrongly_is_not_believed(factor, reason):
    model, x = RunsSamples(3, 4, 3), torch.randn(6, 3, 5, 5)
    model.factor = factor
    masked = MaskedModel(model, 2)
    with pytest.warns(UserWarning, match=f"RunsSamples.forward_samples is not used .*{reason}.* runs slice by slice"):
        scores = masked(x)
    torch.testing.assert_close(scores, MaskedModel(model, 2, batched=False)(x))


def test_a_model_in_bfloat16_runs_in_one_pass():
    masked = MaskedModel(FNN(5, [40, 30], 3).bfloat16(), 2)
    assert masked(torch.randn(64, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert masked.batched


def test_inputs_may_come_in_a_dict():
    class Named(nn.Linear):
        def forward(self, inputs):
            return {"out": super().forward(inputs["x"])}

    x = torch.randn(4, 5)
    at_once, by_slices = (MaskedModel(Named(5, 3), 2, batched=b) for b in (None, False))
    by_slices.model.load_state_dict(at_once.model.state_dict())
    by_slices.weights.copy_(at_once.weights)
    torch.testing.assert_close(at_once({"x": x}), by_slices({"x": x}))
    assert at_once.batched


def test_asking_for_one_pass_where_it_is_wrong_says_why():
    with pytest.raises(batched.CannotBatchError, match="used by conv2d; .* leave `batched` at None"):
        MaskedModel(nn.Conv2d(3, 4, 3), 2, batched=True)(torch.randn(4, 3, 5, 5))


def test_inputs_receive_their_gradient():
    model, x = FNN(5, [7], 3), torch.randn(4, 5)
    gradients = []
    for batched_ in (False, True):
        own = x.clone().requires_grad_()
        MaskedModel(model, 2, seed=1, batched=batched_)(own).square().sum().backward()
        gradients.append(own.grad)
    torch.testing.assert_close(*gradients)
