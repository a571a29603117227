"""The CIFAR-10 experiment in other networks than the paper's."""

import dataclasses

import pytest
import torch

from modules_lib.training.progress import Progress
from reproduction.experiments import cifar, preset
from reproduction.experiments.cifar import NETWORKS
from tests.reproduction.test_cifar import CONFIG, coloured


@pytest.mark.parametrize("network", NETWORKS)
def test_other_networks_are_masked_alike(monkeypatch, network):
    monkeypatch.setattr(cifar, "cifar10", coloured)
    config = dataclasses.replace(CONFIG, network=network, weight_steps=2, mask_steps=2, removed=("cat",))
    model, _ = config.train(0, Progress())
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.dim() > 1}
    assert list(config.layers()) == list(weights)  # all layers have a name, in order
    masks = {}
    for stage in config.stages:
        masks[stage], _ = config.find_masks(model, 0, stage, Progress(), masks)
    assert all(torch.equal(masks["cat"][name], masks["full"][name]) for name in masks["full"] if "classifier" in name)
    kept = [row for row in config.measure(model, masks) if row["metric"] == "kept" and row["layer"] == "classifier"]
    assert {row["stage"] for row in kept} == {"unmasked", *config.stages}


def test_only_the_papers_network_has_dropout():
    images = torch.ones(2, 3, 32, 32)
    for network, differs in (("table-1", True), ("no-dropout", False), ("resnet", False)):
        model = dataclasses.replace(CONFIG, network=network).model()
        assert torch.equal(model(images), model(images)) != differs
    assert preset("cifar10", "paper").hash() == "4e771395aa"  # as before there were others
