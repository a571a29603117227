"""Steps of training make nothing of the host's numbers, copy nothing between devices and read nothing.

Tensors are on torch's device "meta", which has shapes without numbers: a tensor on the CPU among them, or a number that
is wanted, is an error, as it would be a wait on a GPU.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from modules_lib import MaskedModel, Masks, train_weights
from modules_lib.datasets import arithmetic, scan
from modules_lib.datasets.double_addition import DoubleAddition
from modules_lib.datasets.generated import generated
from modules_lib.masking.samplers import SAMPLERS, GumbelSigmoid
from modules_lib.models.encoder_decoder import EncoderDecoder
from modules_lib.models.paper_networks import CNN, FNN, RepeatLSTM
from modules_lib.support import rng
from modules_lib.support.trees import map_tensors
from modules_lib.training import mask_adam
from modules_lib.training.clipping import CLIPPED, ClippedWithWeights
from modules_lib.training.loops import cooled, mask_steps
from tests.library.host_traffic import HostTrafficError, no_host_traffic
from tests.library.test_dead_weights import LEFT, drop_dead, network, partly_dead

ROWS, WORDS, TOKENS = 8, len(scan.WORDS), len(scan.ACTIONS) + 1
ADDITIONS = arithmetic.Arithmetic.of("add")
SHORT = scan.Scan.of(["jump", "look left", "run twice", "walk and jump"] * 2)
COMMANDS = (SHORT.commands[:, :4], SHORT.actions[:, :4], False), SHORT.actions[:, :4]
VECTORS = torch.randn(ROWS, 3, 8), torch.zeros(ROWS, 3, 8)
IMAGES = torch.randn(ROWS, 3, 32, 32), torch.zeros(ROWS, dtype=torch.long)
NETWORKS = {  # how to make it, its batch, its loss
    "FNN": (lambda: FNN(42, [8, 8], 20), ADDITIONS.batch(ROWS, "any"), arithmetic.loss),
    "LSTM": (lambda: RepeatLSTM(42, 6, 20), ADDITIONS.batch(ROWS, "any"), arithmetic.loss),
    "CNN": (CNN, IMAGES, F.cross_entropy),
    "encoder-decoder": (lambda: EncoderDecoder(WORDS, TOKENS, scan.END, 4, 6), COMMANDS, scan.loss),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), VECTORS, F.mse_loss),
}
BATCHED = {"one pass": None, "slices": False}


def away(tree):
    return map_tensors(lambda tensor: tensor.to("meta"), tree)


def begun(model, batch, loss, clipped="logits", **options):
    """Steps of mask training on another device, after the first, which looks at the model and prepares a block."""
    masked = model if isinstance(model, MaskedModel) else MaskedModel(model, 2, fuse=False, **options)
    inputs, _ = batch
    masked(*inputs) if isinstance(inputs, tuple) else masked(inputs)  # the CPU finds out how it is to be run
    there, how = away(batch), {"steps": 1000, "alpha": 1e-4, "clipped": clipped}
    steps = mask_steps(masked.to("meta"), lambda step: there, loss, **how)
    next(steps)
    return masked, steps


def fnn(**options):
    make, batch, loss = NETWORKS["FNN"]
    return begun(make(), batch, loss, **options)[1]


def few(steps, count=2):
    with no_host_traffic("meta"):
        for _ in range(count):
            assert next(steps).device.type == "meta"


@pytest.mark.parametrize("batched", BATCHED.values(), ids=BATCHED)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_mask_training_is_left_to_the_device(name, sampler, batched):
    make, batch, loss = NETWORKS[name]
    masked, steps = begun(make(), batch, loss, batched=batched, sampler=sampler)
    assert masked.batched == (batched is None and name in ("FNN", "LSTM", "encoder-decoder"))
    few(steps)


@pytest.mark.parametrize("teach", [True, False])
@pytest.mark.parametrize("clipped", CLIPPED)
def test_with_and_without_teaching_and_gradients_of_the_weights(clipped, teach):
    make, ((words, answers, _), actions), loss = NETWORKS["encoder-decoder"]
    few(begun(make(), ((words, answers, teach), actions), loss, clipped)[1], 1)


@pytest.mark.parametrize("options", [{"unit": "row"}, {"precision": "bfloat16"}], ids=str)
def test_groups_and_other_precisions(options):
    few(fnn(**options))


@pytest.mark.parametrize("batched", BATCHED.values(), ids=BATCHED)
@pytest.mark.parametrize("clipped", CLIPPED)
def test_after_dead_weights_have_left(clipped, batched):
    masked = partly_dead(network())
    masked(torch.randn(ROWS, 6))
    assert len(drop_dead(masked)) == LEFT
    masked.batched = batched is None
    few(begun(masked, (torch.randn(ROWS, 6), torch.zeros(ROWS, 3)), F.mse_loss, clipped)[1])


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"encoder-decoder"}))
def test_weight_training_is_left_to_the_device(name):
    """On the CPU, which fused Adam knows and "meta" is not."""
    make, batch, loss = NETWORKS[name]
    model = make()
    with no_host_traffic("cpu"):
        train_weights(model, lambda step: batch, loss, steps=3, cooldown=0.5)


@pytest.mark.parametrize("teach", [True, False])
def test_an_encoder_decoder_that_is_trained_is_not_waited_for(teach):
    make, batch, loss = NETWORKS["encoder-decoder"]
    model, ((words, answers, _), actions) = make().to("meta").train(), away(batch)
    with no_host_traffic("meta"):
        loss(model(words, answers, teach), actions).backward()
    assert model.output.weight.grad.device.type == "meta"


DATA = {
    "arithmetic": lambda device: arithmetic.Arithmetic.of("add", "mul", device=device),
    "double addition": lambda device: DoubleAddition.of(((0, 1),), ((0, 0), (0, 1)), device),
    "images": lambda device: generated("test", (1, 4, 4), device),
}


@pytest.mark.parametrize("name", DATA)
def test_batches_are_drawn_on_the_device(name):
    data = DATA[name]("meta")
    data.batch(ROWS, "traffic", name, 0)
    with no_host_traffic("meta"):
        for step in range(1, 4):
            assert all(tensor.device.type == "meta" for tensor in data.batch(ROWS, "traffic", name, step))


def test_the_norm_is_looked_at_now_and_then(monkeypatch):
    monkeypatch.setattr(mask_adam, "LOOK_EVERY", 4)
    steps = fnn()
    few(steps, 2)
    with pytest.raises(HostTrafficError, match="or read"):
        few(steps, 1)


def test_a_state_of_the_cpu_goes_on_on_the_device():
    """With dead weights that have left, and gradients of the weights."""
    both = []
    for device in ("cpu", "meta"):
        masked = partly_dead(network())
        masked(torch.randn(ROWS, 6))
        both.append((masked.to(device), ClippedWithWeights(masked, 1e-2, 1e-4, 1.0, steps=100)))
    drop_dead(both[0][0])
    (_, ended), (masked, adam) = both
    ended.logits.keep(torch.arange(LEFT))
    ended.sums["masked weights"] = ended.sums["masked weights"][:LEFT]
    adam.load_state(ended.state())
    assert len(masked.logits) == LEFT and {value.device.type for value in adam.state().values()} == {"meta", "cpu"}
    assert [name for name, value in adam.state().items() if value.device.type == "cpu"] == ["counts"]
    x = torch.randn(ROWS, 6, device="meta")
    masked(x).sum().backward()
    adam.step()
    with no_host_traffic("meta"):
        masked(x).sum().backward()
        adam.step()


def test_masks_come_back_to_the_cpu():
    with FakeTensorMode():  # tensors without numbers, on a GPU as far as torch knows
        masks = Masks({"weight": torch.zeros(3, 2, dtype=torch.bool, device="cuda")})
        assert masks["weight"].device.type == "cpu" and (~masks)["weight"].device.type == "cpu"


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_rates_are_those_of_double_precision_to_the_bit(monkeypatch, block):
    monkeypatch.setattr(mask_adam, "BLOCK", block)
    first, second = mask_adam.BETAS
    moments = mask_adam.Moments(torch.zeros(2), 0.0, lambda taken: cooled(1e-2, taken, 200_000, 0.3))
    for taken in [*range(20), 998, 999, 1000, 1001, 59_999, 139_999, 140_001, 199_999]:
        rate = cooled(1e-2, taken, 200_000, 0.3)
        expected = [rate / (1 - first ** (taken + 1)), (1 - second ** (taken + 1)) ** 0.5]
        assert torch.equal(moments.rates(taken), torch.tensor(expected))


def test_keys_of_a_block_are_those_of_each_step():
    for step in (0, 1, 999, 1000, 5432, -1):
        made = rng.keys(3, "stream", step, count=2)
        assert made.tolist() == [list(rng.key(3, "stream", step, i)) for i in range(2)]
    assert rng.keys(7, count=1).tolist() == [list(rng.key(7, 0))]
    assert rng.keys(1, True, count=1).tolist() == [list(rng.key(1, True, 0))]
    with torch.inference_mode():  # what is kept must do for training, too
        assert not rng.keys("a stream of its own", 0, count=1).is_inference()


class Made(GumbelSigmoid):
    """Makes a tensor of a number in the backward pass."""

    @staticmethod
    def logit_gradient(logits, weights, keys, start, out, grads):
        out.copy_(logits * torch.tensor(2.0, device=logits.device))


HERE = torch.zeros(2)
MISTAKES = {
    "a number": lambda x: torch.tensor(2.0, device=x.device),
    "a list": lambda x: x[[0, 1]],
    "a new tensor": lambda x: x.new_tensor([1.0]),
    "made on the CPU": lambda x: torch.zeros(3),
    "copied there": lambda x: HERE.to(x.device),
    "copied into": lambda x: x.copy_(HERE[0]),
    "a number of the CPU": lambda x: x * HERE[0],
    "read here": lambda x: bool(HERE.any()),
    "listed": lambda x: HERE.tolist(),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_no_matter_of_the_device_is_found(name):
    x = torch.zeros(2, device="meta")
    with pytest.raises(HostTrafficError), no_host_traffic("meta"):
        MISTAKES[name](x)
    MISTAKES[name](x)  # elsewhere it is allowed


def test_the_backward_pass_is_looked_at_too():
    with pytest.raises(HostTrafficError, match="tensor is made of 2.0"):
        few(fnn(sampler=Made))
