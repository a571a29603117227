"""Weights and masks that are learned together, in steps that are captured once and replayed."""

import functools

import pytest
import torch
import torch.nn.functional as F

from modules_lib.training.cuda_graphs import CAPTURING, WARM_UP
from modules_lib.training.loops import run_steps
from reproduction.experiments.continual_learning import JointAdam
from tests.library.recorded_steps import Recorded
from tests.library.test_dead_weights import network, partly_dead
from tests.reproduction.test_permuted import batch


@pytest.mark.parametrize("every", [500, 6])
def test_replayed_steps_are_plain_steps_to_the_bit(monkeypatch, every):
    """With a stand-in for CUDA graphs; also when dead weights leave after six steps."""

    def trained():
        monkeypatch.setattr("modules_lib.training.mask_adam.EVERY", every)
        masked = partly_dead(network(), masked_biases=True, fuse=False)
        used = torch.arange(len(masked.logits)) % 3 == 0
        adam = JointAdam(masked, used, (3e-2, 1e-2), alpha=0.1, clip=1.0, steps=14, cooldown=0.6)
        losses = list(run_steps(masked, adam, batch, F.cross_entropy, 14, None))
        return torch.stack(losses), masked.logits.detach(), masked.weights.detach()

    plain, made = trained(), []
    monkeypatch.setitem(CAPTURING, "cpu", functools.partial(Recorded, all_=made))
    assert all(torch.equal(one, other) for one, other in zip(trained(), plain, strict=True))
    captures = 1 if every == 500 else 2
    assert made[0].counts == (WARM_UP * captures, captures, 14 - WARM_UP * captures)
    assert (len(plain[1]) < 170) == (captures == 2)
