"""A context in which nothing passes between the host and a device, for machines that have no device but the CPU."""

import contextlib
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Calls that make tensors of the host's numbers: on some devices they reach no operation.
MAKING = [(torch, name) for name in ("tensor", "as_tensor", "asarray", "from_numpy", "frombuffer")]
MAKING += [(Tensor, "new_tensor")]
READING = [(Tensor, name) for name in ("tolist", "numpy", "__array__")]
INDEXING = [(Tensor, name) for name in ("__getitem__", "__setitem__")]


class HostTrafficError(AssertionError):
    """A tensor was made of the host's numbers, read by the host, or on another device."""


class _Operations(TorchDispatchMode):
    """Looks at every tensor that goes into an operation or comes out of it."""

    def __init__(self, device):
        super().__init__()
        self.device = torch.device(device)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name in ("aten::lift_fresh", "aten::_local_scalar_dense"):
            raise HostTrafficError(f"{name}: a tensor is made of the host's numbers, or read")
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, Tensor) and tensor.device != self.device:
                raise HostTrafficError(f"{name}: a tensor of {tuple(tensor.shape)} is on {tensor.device}")
        return out


def _making(call):
    def made(given, *args, **kwargs):
        data = args[0] if call.__name__ == "new_tensor" else given
        if not isinstance(data, Tensor):
            raise HostTrafficError(f"{call.__name__}: a tensor is made of {str(data)[:60]}")
        return call(given, *args, **kwargs)

    return made


def _reading(call):
    def read(tensor, *args, **kwargs):
        raise HostTrafficError(f"{call.__name__}: a tensor of {tuple(tensor.shape)} is read")

    return read


def _indexing(call):
    def indexed(tensor, index, *value):
        if any(isinstance(part, list) for part in (index if isinstance(index, tuple) else (index,))):
            raise HostTrafficError(f"{call.__name__}: a tensor is indexed by {index}")
        return call(tensor, index, *value)

    return indexed


@contextlib.contextmanager
def no_host_traffic(device):
    """Refuse tensors made of the host's numbers, reads, and operations on another device, copies between two included.

    Raises:
        HostTrafficError: as soon as there is one.
    """
    with contextlib.ExitStack() as stack:
        for calls, refusing in ((MAKING, _making), (READING, _reading), (INDEXING, _indexing)):
            for owner, name in calls:
                stack.enter_context(mock.patch.object(owner, name, refusing(getattr(owner, name))))
        stack.enter_context(_Operations(device))
        yield
