"""The norm that is clipped in mask training: of the logits' gradient, or of all parameters', as in the paper's code."""

import copy

import pytest
import torch
from torch import nn

from modules_lib import train_masks
from modules_lib.masking.masked_model import MaskedModel
from modules_lib.models.paper_networks import FNN
from modules_lib.training.progress import Loop

STEPS, ALPHA, LR = 40, 3e-3, 0.05


def network():
    torch.manual_seed(0)
    return FNN(6, [16, 16], 4)


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.randn(16, 4, generator=generator)


def loss(outputs, targets):
    return 5 * nn.functional.mse_loss(outputs, targets)


def masked_model(**settings):
    return MaskedModel(network(), 4, seed=1, stage="x", **settings)


def found(clipped, clip, **settings):
    masked = masked_model(**settings)
    train_masks(masked, batch, loss, steps=STEPS, alpha=ALPHA, lr=LR, clip=clip, clipped=clipped)
    return masked.logits.detach()


def found_as_released(clip):
    """By torch's own functions, in the order of the released code: only the logits' gradients are set to zero."""
    masked = masked_model()
    masked.weights.requires_grad_()
    masked.frozen_get_gradients = True
    adam = torch.optim.Adam([masked.logits], LR)
    everything = [masked.logits, masked.weights, *masked.frozen_parameters().values()]
    for step in range(STEPS):
        inputs, targets = batch(step)
        adam.zero_grad()
        loss(masked(inputs), targets).backward()
        (ALPHA * masked.logits.sum()).backward()
        nn.utils.clip_grad_norm_(everything, clip)
        adam.step()
    return masked.logits.detach()


@pytest.mark.parametrize("settings", [{"batched": False}, {"batched": True}])
def test_everything_is_clipped_as_in_the_released_code(settings):
    for clip in (0.3, 3.0):
        assert torch.allclose(found("everything", clip, **settings), found_as_released(clip), atol=2e-4)
    assert (found("logits", 0.3) - found_as_released(0.3)).abs().max() > 0.01


def test_stopped_and_gone_on_gives_the_same_logits():
    class Kept(Loop):
        def after(self, step, steps, loss, training):
            if step == 25:
                kept.update(copy.deepcopy(training.state()))

    class GoesOn(Loop):
        def begin(self, training):
            training.load_state(kept)
            return 25

    kept: dict = {}
    settings = {"steps": STEPS, "alpha": ALPHA, "lr": LR, "clip": 0.3, "clipped": "everything"}
    whole, second = masked_model(), masked_model()
    train_masks(whole, batch, loss, **settings, loop=Kept())
    train_masks(second, batch, loss, **settings, loop=GoesOn())
    assert torch.equal(whole.logits, second.logits)


def test_weights_that_leave_count_in_the_norm():
    def trained(dead_leave):
        masked = MaskedModel(network(), 4, seed=1, stage="x", batched=True)
        if not dead_leave:
            masked.drop_dead = lambda falling, steps: None
        with torch.no_grad():
            masked.logits[96 : 96 + 12 * 16] = -200.0  # of the 16 units of the second layer, 12
        train_masks(masked, batch, loss, steps=600, alpha=ALPHA, lr=1e-3, clip=0.3, clipped="everything")
        return masked

    with_all, without = trained(False), trained(True)
    assert len(without.logits) < len(with_all.logits)
    assert torch.allclose(with_all.logits.detach()[without.living.long()], without.logits, atol=1e-5)


def test_the_frozen_weights_stay_and_keep_no_gradient():
    masked = masked_model()
    train_masks(masked, batch, loss, steps=3, alpha=ALPHA, clipped="everything")
    for (name, now), first in zip(masked.model.named_parameters(), network().parameters(), strict=True):
        assert torch.equal(now, first) and now.grad is None, name


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="logits, everything"):
        train_masks(masked_model(), batch, loss, steps=1, alpha=ALPHA, clipped="weights")
