"""Situations that people meet with networks of their own: each works, or is refused in a sentence before training."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from modules_lib import (
    MaskedModel,
    Masks,
    TaskMasks,
    choose_alpha,
    effect_test,
    evaluate,
    find_masks,
    subnetwork,
    train_masks,
    weights_only,
)

K, BATCH = 2, 4


def outputs_of(model, *inputs, **named):
    """What the masked model gives with everything kept, and what the model gives."""
    options = named.pop("options", {})
    masked = MaskedModel(model, K, start=50.0, **options)
    ours = masked(*inputs, **named)
    with torch.no_grad():
        return ours, model.eval()(*inputs, **named), masked


def separate(model, x, masked_weights, loss):
    """The gradient of each slice's weights from a run of its own."""
    gradients = []
    for part, weights in zip(x.chunk(len(masked_weights)), masked_weights, strict=True):
        own = copy.deepcopy(model).eval()
        parameters = dict(own.named_parameters())
        for name, weight in weights.items():
            parameters[name].data = weight.clone()
        loss(own(part)).backward()
        gradients.append({name: parameters[name].grad for name in weights})
    return gradients


def assert_gradients_are_those_of_separate_runs(model, x):
    """The gradient of the logits, from the weights of the same noise in K runs of their own."""
    masked = MaskedModel(model, K, start=0.0, seed=3)
    clone = MaskedModel(copy.deepcopy(model), K, start=0.0, seed=3, batched=False)
    clone.weights.requires_grad_()
    loss = lambda out: out.square().sum()  # noqa: E731
    loss(masked(x)).backward()
    samples = []
    original = clone._called

    def called(weights, part):
        samples.append(dict(zip(clone.shapes, (w.detach() for w in weights), strict=True)))
        return original(weights, part)

    clone._called = called
    loss(clone(x)).backward()
    own = separate(model, x, samples[-K:], loss)
    total = torch.zeros_like(clone.weights)
    for sample, gradient in zip(samples[-K:], own, strict=True):
        flat = torch.cat([gradient[name].flatten() for name in sample])
        kept = torch.cat([(sample[name] != 0).float().flatten() for name in sample])
        total += flat * kept
    if all(len(shape) < 4 for shape in clone.shapes.values()):
        torch.testing.assert_close(clone.weights.grad, total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked.logits.grad, clone.logits.grad, rtol=1e-4, atol=1e-6)


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.block = nn.Linear(5, 6), nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.block, torch.tanh(self.first(x)), use_reentrant=self.reentrant)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x):
        out = self.first(x)
        out += x
        return self.second(out.mul_(2))


class OwnRecompute(torch.autograd.Function):
    """A block that is run again in the backward pass by other means than torch's."""

    @staticmethod
    def forward(ctx, block, x, *weights):
        ctx.block, ctx.weights = block, weights
        ctx.save_for_backward(x)
        with torch.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx, grad):
        [x] = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            out = ctx.block(x)
        found = torch.autograd.grad(out, [x, *ctx.block.parameters()], grad, allow_unused=True)
        return (None, found[0], *found[1:])


class OwnCheckpoint(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x):
        return OwnRecompute.apply(self.block, x, *self.block.parameters())


IN_PLACE = {
    "relu": lambda: nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
    "sum": Residual,
    "checkpointed": lambda: Checkpointed(False),
    "checkpointed, reentrant": lambda: Checkpointed(True),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_and_checkpointed_blocks_have_the_gradients_of_separate_runs(name):
    torch.manual_seed(0)
    assert_gradients_are_those_of_separate_runs(IN_PLACE[name](), torch.randn(BATCH, 5))


def test_memory_efficient_densenets_have_their_gradients():
    densenet = pytest.importorskip("torchvision").models.densenet
    torch.manual_seed(0)
    kind = lambda memory_efficient: densenet.DenseNet(  # noqa: E731
        4, (2, 2), 8, num_classes=3, memory_efficient=memory_efficient
    )
    plain, thrifty = kind(False).eval(), kind(True).eval()
    thrifty.load_state_dict(plain.state_dict())
    gradients = []
    for model in (plain, thrifty):
        model.train()  # checkpoints only then; a masked model is in evaluation mode
        for block in model.modules():
            block.training = False
        x = torch.randn(BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
        masked = MaskedModel(model, K, start=1.0, seed=1)
        masked(x).square().sum().backward()
        gradients.append(masked.logits.grad)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_a_block_that_recomputes_by_its_own_means_is_refused():
    with pytest.raises(ValueError, match="gradient of block.* is not right .* switch such checkpointing off"):
        MaskedModel(OwnCheckpoint(), K)(torch.randn(BATCH, 5))


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


class Scaled(nn.Module):
    """A linear layer with a scale of its own, and parameters of every shape that nothing uses."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = nn.Linear(5, 3), nn.Parameter(torch.tensor(1.5))
        self.empty, self.cube = nn.Parameter(torch.zeros(0, 3)), nn.Parameter(torch.randn(2, 3, 4))
        self.kernel = nn.Parameter(torch.randn(2, 3, 4, 5))

    def forward(self, x):
        return self.inner(x) * self.scale


class Unused(Scaled):
    def forward(self, x):
        return self.inner(x)


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 2, 2))

    def forward(self, x):
        return x.flatten(1) @ self.kernel.view(4, -1).T


@pytest.mark.parametrize("kind", [Scaled, Unused])
def test_parameters_of_every_shape_are_masked_until_the_end(kind):
    torch.manual_seed(0)
    ours, theirs, masked = outputs_of(kind(), torch.randn(BATCH, 5))
    torch.testing.assert_close(ours, theirs)
    assert "empty" not in masked.masks() and masked.masks()["scale"].shape == ()
    model, x = kind(), torch.randn(BATCH, 5)
    found = find_masks(
        model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-3, steps=1010, lr=0.3, samples=K, progress=False
    )["a"]
    assert found.shapes()["cube"] == (2, 3, 4)
    assert not found["cube"].any()  # nothing uses it, and it has its price
    subnetwork(model, found)


def test_a_kernel_may_be_viewed():
    ours, theirs, _ = outputs_of(Views(), torch.randn(BATCH, 3, 2, 2))
    torch.testing.assert_close(ours, theirs)


class Keeps(nn.Module):
    """Keeps what it computed, in a list, a dict and an attribute."""

    def __init__(self):
        super().__init__()
        self.inner, self.kept, self.named, self.calls = nn.Linear(5, 3), [], {}, 0

    def forward(self, x):
        out = self.inner(x)
        self.kept.append(out)
        self.named["last"] = (out, [out])
        self.last, self.calls = out, self.calls + 1
        return out


def test_what_a_model_keeps_of_masked_calls_is_gone_afterwards():
    model, x = Keeps(), torch.randn(BATCH, 5)
    found = find_masks(model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-3, steps=3, progress=False)["a"]
    assert model.kept == [] and model.named == {} and not hasattr(model, "last")
    model(x)  # and what it keeps of its own can still be copied
    copy_of = subnetwork(model, found)
    assert len(copy_of.kept) == 1 and not copy_of.kept[0].requires_grad
    test = effect_test(model, found, lambda network: network(x).mean(), draws=3)
    assert np.isfinite(test.chance).all() and isinstance(test.observed, float)
    choose_alpha(
        model, lambda step: (x, x[:, :3]), F.mse_loss, lambda network: torch.tensor(0.5), start=1e-9, limit=1e-8,
        refinements=0, steps=2, progress=False,
    )  # fmt: skip


class Normalises(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(5, 3)

    def forward(self, x):
        return self.inner(x.sub_(x.mean(-1, keepdim=True)))


@pytest.mark.parametrize("batched", [None, False])
def test_inputs_that_a_forward_changes_stay_as_they_were(batched):
    x = torch.randn(BATCH, 5)
    before = x.clone()
    ours, _, _ = outputs_of(Normalises(), x, options={"batched": batched})
    assert ours.shape == (BATCH, 3)
    x = before.clone()
    MaskedModel(Normalises(), K, batched=batched)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_are_on_while_masks_are_trained(off):
    model, x = nn.Linear(5, 3), torch.randn(BATCH, 5)
    expected = find_masks(
        model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-2, steps=40, lr=0.3, progress=False
    )
    with off():
        found = find_masks(
            model, {"a": lambda step: (x, x[:, :3])}, F.mse_loss, alpha=1e-2, steps=40, lr=0.3, progress=False
        )
        assert torch.is_grad_enabled() is False
    assert found == expected


def computed(kind):
    """A small network in which one weight is computed from other numbers."""
    torch.manual_seed(0)
    layer = nn.Linear(5, 4)
    if kind == "pruned":
        prune.l1_unstructured(layer, "weight", 0.5)
    elif kind == "weight norm":
        parametrizations.weight_norm(layer)
    elif kind == "old weight norm":
        nn.utils.weight_norm(layer)
    elif kind == "spectral norm":
        parametrizations.spectral_norm(layer)
    elif kind == "old spectral norm":
        nn.utils.spectral_norm(layer)
    elif kind == "orthogonal":
        parametrizations.orthogonal(layer)
    elif kind == "bias":
        nn.utils.parametrize.register_parametrization(layer, "bias", nn.Softplus(), unsafe=True)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 2))


KINDS = ("pruned", "weight norm", "old weight norm", "spectral norm", "old spectral norm", "orthogonal", "bias")


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_weight_is_masked_as_it_acts(kind):
    model, x = computed(kind), torch.randn(BATCH, 5)
    model(x)
    ours, theirs, masked = outputs_of(model, x)
    torch.testing.assert_close(ours, theirs)
    assert set(masked.masks()) == {"0.weight", "2.weight"}
    found = find_masks(
        model, {"a": lambda step: (x, x[:, :2])}, F.mse_loss, alpha=1e-2, steps=60, lr=0.3, progress=False
    )
    gone = Masks({name: torch.zeros_like(mask) for name, mask in found["a"].items()})
    assert torch.isfinite(subnetwork(model, gone)(x)).all()
    small = subnetwork(model, found["a"])
    assert bool((small[0].weight[~found["a"]["0.weight"]] == 0).all())
    copy.deepcopy(model)
    model.train()
    model(x).sum().backward()  # the model is as it was


def test_files_know_the_names_of_computed_weights(tmp_path):
    model = computed("weight norm")
    masks = MaskedModel(model).masks()
    masks.save(tmp_path / "masks", model)
    assert Masks.load(tmp_path / "masks", model) == masks


def test_embeddings_and_biases_are_left_out_however_deep_they_are():
    embedding = parametrizations.spectral_norm(nn.Embedding(7, 4))
    layer = nn.Linear(4, 3)
    nn.utils.parametrize.register_parametrization(layer, "bias", nn.Softplus(), unsafe=True)
    model = nn.Sequential(embedding, layer)
    assert set(MaskedModel(model).masks()) == {"1.weight"}
    assert not weights_only(nn.Linear(3, 2))("bias")


class Batches:
    def __call__(self, step):
        x = torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(step))
        return x, x[:, :3]


@pytest.mark.parametrize("name", [3, np.int64(3), ("a", 1), None])
def test_names_of_tasks_that_are_no_text_are_refused_at_once(name):
    with pytest.raises(ValueError, match="names are text, for example"):
        find_masks(nn.Linear(5, 3), {name: Batches()}, F.mse_loss, alpha=1e-3)
    with pytest.raises(ValueError, match="names are text, for example"):
        TaskMasks({name: MaskedModel(nn.Linear(5, 3)).masks()})


def test_numbers_of_numpy_are_numbers(tmp_path):
    found = find_masks(
        nn.Linear(5, 3), {"a": Batches()}, F.mse_loss, alpha=np.float32(1e-3), steps=np.int64(3), samples=np.int32(2),
        seed=np.int64(1), progress=False,
    )  # fmt: skip
    found.save(tmp_path / "masks")
    assert TaskMasks.load(tmp_path / "masks").alpha == pytest.approx(1e-3)


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    masks = MaskedModel(nn.Linear(5, 3)).masks()
    with pytest.raises(ValueError, match="nowhere/masks cannot be written .*make its folder"):
        masks.save(tmp_path / "nowhere" / "masks")


def test_metrics_give_one_number():
    model, x = nn.Linear(5, 3), torch.randn(BATCH, 5)
    masks = MaskedModel(model).masks()
    table = evaluate(model, {"a": masks}, lambda network: network(x).mean())
    assert table["value"].dtype == float
    with pytest.raises(ValueError, match=r"The metric gave a Tensor of shape \(4, 3\); it must give one number"):
        evaluate(model, {"a": masks}, lambda network: network(x))
    with pytest.raises(
        ValueError, match="accuracy is 97.0; it must be a number of at least 0 and below 1, .*not per cent"
    ):
        choose_alpha(model, Batches(), F.mse_loss, lambda network: 97.0)


def test_models_whose_weights_cannot_be_replaced_are_refused():
    tasks = {"a": Batches()}
    script = torch.jit.trace(nn.Linear(5, 3), torch.randn(2, 5))
    for model, message in (
        (nn.Sequential(nn.ReLU()), r"No parameter is selected .* \(the model has none\)"),
        (script, "scripted or traced model; give the module that it was made from"),
        (nn.DataParallel(nn.Linear(5, 3)), "DataParallel wrapper; give the module inside, model.module"),
        (torch.compile(nn.Linear(5, 3)), "compiled one; give the module that torch.compile was given"),
        (nn.LazyLinear(3), "has no values yet"),
        (lambda x: x, "it must be a torch.nn.Module"),
    ):
        with pytest.raises(ValueError, match=message):
            find_masks(model, tasks, F.mse_loss, alpha=1e-3)


def test_a_loss_that_is_none_is_named():
    model = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"The loss is of shape \(4, 3\); it must be one number"):
        find_masks(model, {"a": Batches()}, lambda out, y: (out - y) ** 2, alpha=1e-3, progress=False)
    with pytest.raises(ValueError, match="does not depend on the weights"):
        find_masks(model, {"a": Batches()}, lambda out, y: F.mse_loss(out.detach(), y), alpha=1e-3, progress=False)
