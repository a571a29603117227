"""The one place that decides where tensors live."""

import torch


def device() -> torch.device:
    """Return the CUDA device that this process uses, where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
