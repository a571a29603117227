"""With everything kept a masked model gives what the model gives: layers of torch, networks that people use."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modules_lib import MaskedModel, find_masks, heads, subnetwork
from tests.conftest import ROOT

ROWS, SEQUENCE, IMAGE, VOLUME = (4, 6), (4, 5, 6), (4, 6, 8, 8), (4, 6, 4, 4, 4)
LAYERS = {
    "linear": (lambda: nn.Linear(6, 3), ROWS),
    "bilinear": (lambda: Two(nn.Bilinear(6, 6, 3)), ROWS),
    "conv1d": (lambda: nn.Conv1d(5, 3, 3), SEQUENCE),
    "conv2d": (lambda: nn.Conv2d(6, 3, 3), IMAGE),
    "conv2d, groups": (lambda: nn.Conv2d(6, 6, 3, groups=3), IMAGE),
    "conv2d, depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6, padding=1), IMAGE),
    "conv2d, dilated": (lambda: nn.Conv2d(6, 3, 3, dilation=2), IMAGE),
    "conv3d": (lambda: nn.Conv3d(6, 3, 3), VOLUME),
    "transposed conv1d": (lambda: nn.ConvTranspose1d(5, 3, 3), SEQUENCE),
    "transposed conv2d": (lambda: nn.ConvTranspose2d(6, 3, 3, stride=2), IMAGE),
    "transposed conv3d": (lambda: nn.ConvTranspose3d(6, 3, 3), VOLUME),
    "batch norm 1d": (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3)), ROWS),
    "batch norm 2d": (lambda: nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 3, 3)), IMAGE),
    "group norm": (lambda: nn.GroupNorm(2, 6), IMAGE),
    "instance norm": (lambda: nn.InstanceNorm2d(6, affine=True), IMAGE),
    "layer norm": (lambda: nn.LayerNorm(6), SEQUENCE),
    "rms norm": (lambda: nn.RMSNorm(6), SEQUENCE),
    "prelu": (lambda: nn.PReLU(6), IMAGE),
    "rnn": (lambda: nn.RNN(6, 4, batch_first=True), SEQUENCE),
    "gru": (lambda: nn.GRU(6, 4, 2, batch_first=True, bidirectional=True), SEQUENCE),
    "lstm": (lambda: nn.LSTM(6, 4, 2, batch_first=True), SEQUENCE),
    "lstm, projected": (lambda: nn.LSTM(6, 4, proj_size=3, batch_first=True), SEQUENCE),
    "gru cell": (lambda: nn.GRUCell(6, 4), ROWS),
    "lstm cell": (lambda: nn.LSTMCell(6, 4), ROWS),
    "attention": (lambda: Three(nn.MultiheadAttention(6, 2, batch_first=True)), SEQUENCE),
    "attention, other keys": (lambda: Three(nn.MultiheadAttention(6, 2, kdim=6, vdim=6, batch_first=True)), SEQUENCE),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), SEQUENCE),
    "decoder layer": (lambda: Two(nn.TransformerDecoderLayer(6, 2, 8, batch_first=True)), SEQUENCE),
    "transformer": (lambda: Two(nn.Transformer(6, 2, 1, 1, 8, batch_first=True)), SEQUENCE),
    "embedding bag": (lambda: Indices(nn.EmbeddingBag(9, 4), nn.Linear(4, 3)), ROWS),
    "adaptive softmax": (lambda: nn.Sequential(nn.Linear(6, 12), LogProbabilities()), ROWS),
}
NETWORKS = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3"),
    *("maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18"),
    *("resnet50", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vgg11", "vit_b_32"),
)


LARGE = {
    "alexnet": "features",
    "vgg11": "features",
    "maxvit_t": "stem",
    "vit_b_32": "heads",
}  # masked in part, for time


class Two(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x)


class Three(Two):
    def forward(self, x):
        return self.inner(x, x, x)


class Indices(nn.Module):
    def __init__(self, inner, last):
        super().__init__()
        self.inner, self.last = inner, last

    def forward(self, x):
        return self.last(self.inner((x > 0).long()))


class LogProbabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.AdaptiveLogSoftmaxWithLoss(12, 9, [4])

    def forward(self, x):
        return self.inner.log_prob(x)


def assert_everything_kept_is_the_model(model, x, part="", **tolerance):
    model = model.eval()
    with torch.no_grad():
        expected = model(x)
        ours = MaskedModel(model, 2, lambda name: name.startswith(part), start=50.0, fuse=False)(x)
    torch.testing.assert_close(ours, expected, **tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_torch(name):
    torch.manual_seed(0)
    model, shape = LAYERS[name]
    assert_everything_kept_is_the_model(model(), torch.randn(shape), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_torchvision(name):
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, num_classes=5, **options)
    side = {"inception_v3": 75, "maxvit_t": 224, "vit_b_32": 224, "swin_t": 64}.get(name, 64)
    assert_everything_kept_is_the_model(model, torch.randn(2, 3, side, side), LARGE.get(name, ""), rtol=1e-3, atol=1e-4)


def gpt2(transformers):
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=12, n_layer=2, n_head=3, use_cache=False)
    return transformers.GPT2LMHeadModel(config), heads(3, transposed=True), 2 * 3


def bert(transformers):
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **sizes)), heads(3), 2 * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [gpt2, bert])
def test_models_of_transformers_over_weights_and_heads(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, unit, number = kind(transformers)
    tokens = torch.randint(0, 50, (8, 10))
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    loss = lambda out, y: F.cross_entropy(out.logits.flatten(0, 1), y.flatten())  # noqa: E731
    ours, theirs = MaskedModel(model, 2, start=50.0)(**inputs), model.eval()(**inputs)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-4, atol=1e-5)
    settings = {"steps": 6, "lr": 0.5, "samples": 2, "progress": False}
    weights = find_masks(model, {"same": lambda step: (inputs, tokens)}, loss, alpha=1e-5, **settings)["same"]
    assert 0 < weights.kept() < 1 and not any("bias" in name or "wte" in name for name in weights)
    of_heads = find_masks(model, {"same": lambda step: (inputs, tokens)}, loss, alpha=0.3, unit=unit, **settings)[
        "same"
    ]
    masked = MaskedModel(model, 2, unit=unit)
    assert len(masked.logits) == number and set(of_heads) == set(masked.shapes)
    assert subnetwork(model, of_heads)(**inputs).logits.isfinite().all()


def test_every_line_of_the_page_on_networks_is_a_test():
    page = (ROOT / "book/networks.md").read_text(encoding="utf8")
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| what you give |")]
    named = [line.strip("| ").split("|")[-1].strip(" `") for line in lines if "`test_" in line]
    tests = "\n".join(path.read_text(encoding="utf8") for path in ROOT.glob("tests/library/test_*.py"))
    assert len(named) >= 25 and len(named) == len([line for line in lines if not line.startswith("| your network |")])
    assert [name for name in named if f"def {name}(" not in tests] == []
    assert f"for {len(NETWORKS)} kinds" in page
