"""A stand-in for CUDA graphs, for machines without a GPU: torch's operations are recorded and done again.

As on a GPU, a recording computes nothing, a replay runs no Python of the step, and every operation reads and writes the
tensors that it had in the recording. Those that the step made itself hold no numbers until a replay has written them.
"""

import functools

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.library.host_traffic import no_host_traffic

NOTHING = {torch.bool: True, torch.uint8: 255}  # what memory holds that was not written yet; else nan, or a number


def memory(tensor):
    return tensor.untyped_storage()._cdata


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class _Recording(TorchDispatchMode):
    """Notes every operation with its tensors, and puts back what it has written outside."""

    def __init__(self):
        super().__init__()
        self.operations, self.own, self.written = [], {}, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        named = dict(zip([argument.name for argument in function._schema.arguments], args, strict=False)) | kwargs
        for argument in function._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tensors(named.get(argument.name)):
                    if memory(tensor) not in self.own and memory(tensor) not in self.written:
                        whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                        self.written[memory(tensor)] = whole, whole.clone()
        out = function(*args, **kwargs)
        given = {memory(tensor) for tensor in tensors((args, kwargs))}
        made = [tensor for tensor in tensors(out) if memory(tensor) not in given]
        self.own |= {memory(tensor): tensor for tensor in made}
        self.operations.append((torch.is_grad_enabled(), function, args, kwargs, out, made))
        return out

    @torch.no_grad()
    def undo(self):
        for whole, before in self.written.values():
            whole.copy_(before)
        self.forget()

    def forget(self):
        for *_, made in self.operations:
            for tensor in made:
                number = torch.nan if tensor.is_floating_point() else 10**6
                tensor.fill_(NOTHING.get(tensor.dtype, number))

    @torch.no_grad()
    def replay(self):
        self.forget()
        for with_gradient, function, args, kwargs, out, made in self.operations:
            # Some layers keep more for a backward pass; the operations of that are among the recorded ones.
            with torch._C._AutoDispatchBelowAutograd(), torch.set_grad_enabled(with_gradient):
                again = tensors(function(*args, **kwargs))
            if "empty" in function._schema.name:
                continue
            for tensor, new in zip(tensors(out), again, strict=True):
                if any(tensor is one for one in made):
                    tensor.copy_(new)


class Recorded:
    """Takes the place of :class:`modules_lib.training.cuda_graphs.Capturing`, and counts what is asked of it.

    Args:
        device: of the logits.
        all_: gets every one that is made.
        failing: an error that each capture ends with, at its end.
    """

    def __init__(self, device, all_=None, failing=None):
        self.asides, self.captures, self.replays, self.failing = 0, 0, 0, failing
        if all_ is not None:
            all_.append(self)

    def aside(self, work):
        self.asides += 1
        return work()

    def capture(self, work):
        self.captures += 1
        recording = _Recording()
        try:
            with no_host_traffic("cpu"), recording:
                made = work()
                if self.failing:
                    raise self.failing
        finally:
            recording.undo()
        return functools.partial(self.replay, recording), made

    def replay(self, recording):
        self.replays += 1
        recording.replay()

    @property
    def counts(self):
        """Plain steps aside, captures, replays."""
        return self.asides, self.captures, self.replays
