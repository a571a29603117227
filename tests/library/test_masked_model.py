"""MaskedModel: its forward pass against weights multiplied by hand, for every kind of layer, and what it refuses."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from modules_lib import MaskedModel, Masks, subnetwork, train_masks, weights_only
from modules_lib.masking.sample_weights import flatten, unflatten
from modules_lib.support import rng as noise

K, BATCH = 4, 8


class Reader(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent = kind(5, 6, 2, batch_first=True)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.recurrent(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, tokens):
        return self.norm(self.block(self.embedding(tokens)).mean(1))


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def tied():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Tanh(), nn.Linear(6, 6, bias=False))
    model[2].weight = model[0].weight
    return model


def networks():
    return {
        "linear": (nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(BATCH, 5)),
        "conv": (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten()), torch.randn(BATCH, 3, 6, 6)),
        "lstm": (Reader(nn.LSTM), torch.randn(BATCH, 4, 5)),
        "gru": (Reader(nn.GRU), torch.randn(BATCH, 4, 5)),
        "attention": (Attention(), torch.randint(0, 11, (BATCH, 4))),
        "encoder": (encoder(), torch.randn(BATCH, 5, 8)),
        "tied": (tied(), torch.randn(BATCH, 6)),
        "resnet": (resnet18(num_classes=3), torch.randn(BATCH, 3, 32, 32)),  # batch norm and its buffers
    }


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.slow) if n == "resnet" else n for n in networks()])
def network(request):
    torch.manual_seed(0)
    return networks()[request.param]


def samples_by_hand(masked, step):
    """The K binary masks of a step, from the noise and the logits alone: kept where u > 1 - p."""
    keys = noise.mask_keys(masked.seed, masked.stage, step, samples=masked.samples)
    u = torch.stack(noise.mask_noise(keys, masked.samples, masked.logits.numel()))
    return u > torch.sigmoid(-masked.logits.detach())


def by_hand(model, masked, sample):
    """A copy of the model with its masked parameters multiplied by one sample, tensor by tensor."""
    result, offset = copy.deepcopy(model), 0
    parameters = dict(result.named_parameters())
    with torch.no_grad():
        for name, shape in masked.shapes.items():
            bits = unflatten(sample[offset : offset + shape.numel()], shape)
            parameters[name] *= bits
            offset += shape.numel()
    assert offset == len(sample)
    return result


def test_forward_is_that_of_weights_multiplied_by_hand(network):
    model, inputs = network
    masked = MaskedModel(model, samples=K, start=0.5, seed=7, stage="x")
    for step in range(3):
        outputs = masked(inputs)
        expected = [
            by_hand(model, masked, sample)(part)
            for sample, part in zip(samples_by_hand(masked, step), inputs.chunk(K), strict=True)
        ]
        torch.testing.assert_close(outputs, torch.cat(expected))


def test_gradient_is_the_straight_through_one(network):
    model, inputs = network
    masked = MaskedModel(model, samples=1, start=0.5, seed=7)
    masked(inputs).square().mean().backward()
    bits = samples_by_hand(masked, 0)[0]
    model_by_hand = by_hand(model, masked, bits)
    model_by_hand(inputs).square().mean().backward()
    gradients = dict(model_by_hand.named_parameters())
    gradient = torch.cat([flatten(gradients[name].grad) for name in masked.shapes])  # with respect to w * m
    [u] = noise.mask_noise(noise.mask_keys(7, "", 0, samples=1), 1, masked.logits.numel())
    s = torch.sigmoid(masked.logits.detach() + torch.logit(u))
    torch.testing.assert_close(masked.logits.grad, gradient * masked.weights * s * (1 - s), rtol=2e-4, atol=2e-6)


def test_every_step_has_new_masks_and_the_same_seed_the_same():
    model = nn.Linear(50, 50)
    x = torch.randn(4, 50)
    first, second = MaskedModel(model, start=0.0, seed=1), MaskedModel(model, start=0.0, seed=1)
    a, b = first(x), first(x)
    assert not torch.equal(a, b)
    assert torch.equal(second(x), a) and torch.equal(second(x), b)
    assert not torch.equal(MaskedModel(model, start=0.0, seed=2)(x), a)
    assert not torch.equal(MaskedModel(model, start=0.0, seed=1, stage="other")(x), a)


def test_training_masks_changes_nothing_but_logits(network):
    model, inputs = network
    before = copy.deepcopy(model.state_dict())
    masked = MaskedModel(model, samples=K)
    assert [name for name, _ in masked.named_parameters()] == ["logits"]
    train_masks(masked, lambda step: (inputs, None), lambda out, _: out.square().mean(), steps=3, alpha=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not torch.all(masked.logits == 2.0)


def test_the_papers_choice_leaves_biases_and_embeddings_alone():
    names = set(MaskedModel(Attention()).masks())
    assert {"block.self_attn.in_proj_weight", "block.linear1.weight"} <= names
    assert not any("bias" in name or "embedding" in name for name in names)
    where = weights_only(nn.Embedding(3, 2))
    assert not where("weight") and weights_only(nn.Linear(3, 2))("weight")


def test_parameters_are_chosen_by_name():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    masked = MaskedModel(model, where=lambda name: name.startswith("1."))
    assert set(masked.masks()) == {"1.weight", "1.bias"}


def test_tied_weights_are_masked_together():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    model[1].weight = model[0].weight
    masked = MaskedModel(model, samples=1, start=0.0)
    x = torch.randn(4, 6)
    weight = model[0].weight * samples_by_hand(masked, 0)[0].view(6, 6)
    torch.testing.assert_close(masked(x), x @ weight.T @ weight.T)


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_a_tied_embedding_is_not_masked_whatever_it_is_called(first):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            embedding, head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            head.weight = embedding.weight
            for name, module in sorted({"embedding": embedding, "head": head}.items(), reverse=first == "head"):
                self.add_module(name, module)
            self.middle = nn.Linear(4, 4)

    assert set(MaskedModel(Tied()).masks()) == {"middle.weight"}


@dataclass
class Parts:
    sums: torch.Tensor
    auxiliary: torch.Tensor
    name: str = "parts"


def test_data_classes_and_numbers_are_joined():
    class Model(nn.Linear):
        def forward(self, x, scale):
            y = super().forward(x) * scale
            return Parts(y, y.mean())

    masked, x = MaskedModel(Model(3, 3), samples=2, start=50.0), torch.randn(4, 3)
    out, expected = masked(x, torch.tensor(2.0)), masked.model(x, 2.0)
    torch.testing.assert_close(out.sums, expected.sums)
    torch.testing.assert_close(out.auxiliary, expected.auxiliary)
    assert out.name == "parts"


def test_what_cannot_be_sliced_is_refused():
    class Hidden:
        def __init__(self, y):
            self.y = y

    class Model(nn.Linear):
        def forward(self, x):
            return Hidden(super().forward(x))

    with pytest.raises(ValueError, match="A Hidden holds tensors that cannot be cut into slices"):
        MaskedModel(Model(3, 3), samples=2)(torch.randn(4, 3))
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 5), torch.randn(2, 5)])
    with pytest.raises(ValueError, match="PackedSequence cannot be cut .* padded sequences"):
        MaskedModel(nn.LSTM(5, 4), samples=2)(packed)


def test_nested_inputs_and_outputs_are_sliced_and_joined():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, pair, options):
            return {"sum": self.linear(pair[0] + pair[1]), "scaled": (self.linear(pair[0]) * options["scale"],)}

    masked = MaskedModel(Nested(), samples=2, start=50.0)
    a, b = torch.randn(2, 4, 3)
    out = masked((a, b), {"scale": torch.full((4, 1), 2.0)})
    torch.testing.assert_close(out["sum"], masked.model.linear(a + b))
    torch.testing.assert_close(out["scaled"][0], masked.model.linear(a) * 2)


def test_thresholded_masks_and_probabilities_follow_the_logits():
    masked = MaskedModel(nn.Linear(2, 2))
    with torch.no_grad():
        masked.logits.copy_(torch.tensor([1.0, -1.0, 0.0, 3.0]))
    assert masked.masks()["weight"].tolist() == [[True, False], [False, True]]
    torch.testing.assert_close(masked.probabilities()["weight"][0], torch.sigmoid(torch.tensor([1.0, -1.0])))


def test_a_subnetwork_is_the_model_without_the_removed_weights():
    model = nn.Linear(3, 2)
    keep = torch.tensor([[True, False, True], [False, False, True]])
    small = subnetwork(model, Masks({"weight": keep}))
    assert torch.equal(small.weight, model.weight * keep) and torch.equal(small.bias, model.bias)
    with pytest.raises(ValueError, match="belong to another model"):
        subnetwork(nn.Linear(4, 2), Masks({"weight": keep}))


def test_a_subnetwork_of_a_model_that_keeps_what_it_computed():
    class Keeps(nn.Linear):
        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    model = Keeps(3, 2)
    model(torch.randn(4, 3))
    small = subnetwork(model, Masks({"weight": torch.zeros(2, 3, dtype=torch.bool)}))
    assert not small.weight.any() and torch.equal(small.last, model.last) and model.last.requires_grad


def test_dropout_stays_off_in_recurrent_layers_and_the_model_as_it_was():
    model = nn.LSTM(5, 6, 2, dropout=0.9, batch_first=True)
    masked = MaskedModel(model, samples=2, start=50.0)
    x = torch.randn(4, 3, 5)
    torch.testing.assert_close(masked(x)[0], model.eval()(x)[0])
    assert not model.training and model.dropout == 0.9


def test_logits_are_float32_whatever_the_model_is():
    masked = MaskedModel(nn.Linear(6, 4).bfloat16(), samples=2)
    assert masked.logits.dtype == torch.float32
    outputs = masked(torch.randn(4, 6, dtype=torch.bfloat16))
    outputs.float().square().mean().backward()
    assert outputs.dtype == torch.bfloat16 and masked.logits.grad.dtype == torch.float32


@pytest.mark.gpu
def test_everything_moves_to_the_gpu(network):
    model, inputs = network
    masked = MaskedModel(model, samples=K).cuda()
    train_masks(masked, lambda step: (inputs.cuda(), None), lambda o, _: o.square().mean(), steps=2, alpha=1e-3)
    assert masked.logits.is_cuda and not torch.all(masked.logits == 2.0)


def test_parameters_of_several_types_are_refused():
    model = nn.Sequential(nn.Linear(3, 3).bfloat16(), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"several types \(0.weight in bfloat16, 1.weight in float32\)"):
        MaskedModel(model)


def test_bad_input_is_refused_in_one_sentence():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="No parameter is selected for masking.*weight, bias"):
        MaskedModel(model, where=lambda name: False)
    for samples in (0, 2.0, "4"):
        with pytest.raises(ValueError, match="samples is .*; it must be a whole number of at least 1"):
            MaskedModel(model, samples=samples)
    with pytest.raises(ValueError, match="steps is -3; it must be a whole number of at least 1"):
        train_masks(MaskedModel(model), None, None, steps=-3, alpha=1e-4)
    with pytest.raises(ValueError, match="batch of 6 cannot be cut into 4 equal slices"):
        MaskedModel(model)(torch.randn(6, 3))
