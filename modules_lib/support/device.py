"""The one place that decides where tensors live."""

import torch


def device() -> torch.device:
    """Return the CUDA device that this process uses, where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gpus() -> list[int]:
    """List the GPUs that this process may use, which the environment variable CUDA_VISIBLE_DEVICES can restrict."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []


def use_gpu(number: int) -> None:
    """Make one of :func:`gpus` the device of this process."""
    torch.cuda.set_device(number)
