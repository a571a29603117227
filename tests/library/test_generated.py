"""Generated images: the same everywhere, balanced, and such that small networks tell the classes apart."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from modules_lib import train_weights
from modules_lib.datasets.generated import generated
from modules_lib.models.paper_networks import CNN, FNN
from reproduction.experiments import preset


def accuracy(model, data):
    with torch.no_grad():
        return float((model(data.normalised(slice(None))).argmax(1) == data.labels).float().mean())


@pytest.mark.slow
def test_a_small_cnn_tells_the_classes_apart():
    data = generated()
    torch.manual_seed(0)
    model = train_weights(CNN(), lambda step: data.batch(64, 0, step), F.cross_entropy, steps=60)
    assert accuracy(model, generated("test")) > 0.9


def test_a_fully_connected_network_does_too():
    data = generated(shape=(1, 28, 28))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), FNN(28 * 28, [64], 10))
    train_weights(model, lambda step: data.batch(64, 0, step), F.cross_entropy, steps=100)
    assert accuracy(model, generated("test", (1, 28, 28))) > 0.9


def test_they_are_the_same_everywhere():
    data = generated("test", (1, 28, 28))
    assert hashlib.sha256(data.images.numpy().tobytes()).hexdigest()[:16] == "cc09f724f31cb049"


@pytest.mark.parametrize(("part", "count"), [("train", 2000), ("test", 500)])
def test_they_are_labelled_images(part, count):
    data = generated(part)
    assert data.images.shape == (count, 3, 32, 32) and data.images.dtype == torch.uint8
    assert data.labels.bincount().tolist() == [count // 10] * 10
    whole = data.normalised(slice(None))
    assert abs(float(whole.mean())) < 0.2 and 0.7 < float(whole.std()) < 1.3


def test_training_and_test_images_differ():
    train, test = generated(), generated("test")
    assert not torch.equal(train.images[:500], test.images)
    with pytest.raises(ValueError, match="Unknown part 'valid'; it must be one of train, test"):
        generated("valid")


@pytest.mark.parametrize("name", ["cifar10", "permuted-equal", "permuted-half", "permuted-quarter"])
def test_smoke_scale_never_touches_files_and_the_others_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MODULES_DATA", str(tmp_path / "none"))
    assert preset(name, "smoke").source == "generated images"
    assert len(preset(name, "smoke").data("train").labels) == 2000
    assert not (tmp_path / "none").exists()
    assert all(preset(name, scale).images == "official" for scale in ("laptop", "paper"))
    with pytest.raises(ValueError, match="Unknown source of the images 'mine'; it must be one of official, generated"):
        preset(name, "smoke", images="mine")
