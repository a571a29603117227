"""The update of mask logits against torch's own clipping and Adam."""

import pytest
import torch
from torch import nn

from modules_lib import MaskedModel
from modules_lib.training.mask_adam import MaskAdam


def trajectories(alpha, clip, fuse, steps=20):
    """Logits after some steps of ours and of torch.optim.Adam on the same gradients."""
    torch.manual_seed(0)
    ours = MaskedModel(nn.Linear(30, 20), fuse=fuse)
    theirs = nn.Parameter(ours.logits.detach().clone())
    adam, torch_adam = MaskAdam(ours, 1e-2, alpha, clip, 100), torch.optim.Adam([theirs], lr=1e-2)
    for step in range(steps):
        gradient = torch.randn(600) * 10.0 ** (step % 4 - 2)
        ours.logits.grad = gradient.clone()
        adam.step()
        theirs.grad = gradient + alpha
        nn.utils.clip_grad_norm_([theirs], clip)
        torch_adam.step()
    return ours.logits.detach(), theirs.detach()


@pytest.mark.parametrize("clip", [0.1, 1.0, 1e9])
@pytest.mark.parametrize("alpha", [0.0, 0.05, 3.0])
def test_update_is_that_of_clipping_and_adam(alpha, clip):
    ours, theirs = trajectories(alpha, clip, fuse=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert (ours - 2.0).abs().max() > 0.05


def test_compiled_update_gives_the_same_numbers():
    plain, compiled = (trajectories(0.05, 1.0, fuse)[0] for fuse in (False, True))
    torch.testing.assert_close(compiled, plain, rtol=1e-6, atol=1e-7)  # the norm is summed in another order
