"""What several tests of the library measure."""

import torch

from modules_lib import MaskedModel

K, BATCH = 2, 4


def outputs_of(model, *inputs, **named):
    """What the masked model gives with everything kept, and what the model gives."""
    options = named.pop("options", {})
    masked = MaskedModel(model, K, start=50.0, **options)
    ours = masked(*inputs, **named)
    with torch.no_grad():
        return ours, model.eval()(*inputs, **named), masked
