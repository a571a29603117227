"""CUDA graphs: a step of mask training is captured once and replayed, which spares the launches of its operations.

The rules are those of PyTorch's notes, "CUDA semantics", section "CUDA graphs":

- *Warm-up on a side stream.* The first steps of a kind are plain steps of the training there; none has to be undone.
- *Capture on that stream.* Nothing is computed meanwhile, so that a failure leaves everything as it was.
- *No gradients before.* A step drops its own at its end; the captured one allocates them in the graph's memory.
- *The same addresses.* Logits and moments are updated in place. Batch, keys and rates are copied into buffers before a
  replay. Any function may make the batch, also one that counts or reads files, so it is drawn outside the graph.
- *Memory that stays.* What a step reads is kept by the model, the update, this module, or a cache that forgets nothing.
- *The same shapes and branches.* Each kind of batch has a graph of its own; what is no tensor belongs to the kind. All
  graphs go when the logits are others, as when dead weights have left.
- *The host neither reads nor makes numbers.* It counts, looks at norms and searches for dead weights between steps.
- *No cache of casts.* Under an autocast that has one, steps are plain.
- *Results are overwritten* by the next replay: the loss that is handed out is a copy.

The Python of model and loss runs at the capture alone. Where it counts or remembers calls, switch graphs off.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from modules_lib.masking.masked_model import MaskedModel
from modules_lib.support.trees import map_tensors, tensors
from modules_lib.training.mask_adam import MaskAdam

WARM_UP = 3  # plain steps of each kind before one is captured
KINDS = 8  # at most so many graphs at once, each with memory of its own
Backward = Callable[[Any, Any], Tensor]  # (inputs, targets) -> loss, after its gradients have come to the parameters
Made = tuple[Tensor, Tensor]  # loss and norm of a step


class Capturing:
    """A side stream of a GPU, on which steps are captured."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device)

    def aside(self, work: Callable[[], Made]) -> Made:
        """Do work on the stream, between all that is launched elsewhere before and after."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            made = work()
        current.wait_stream(self.stream)
        return made

    def capture(self, work: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        """Record work without doing it: a function that does it, and the tensors that it then writes."""
        graph = torch.cuda.CUDAGraph()
        # The outer context leaves the stream where the inner one fails at its end.
        with torch.cuda.stream(self.stream), torch.cuda.graph(graph, stream=self.stream):
            made = work()
        return graph.replay, made


CAPTURING: dict[str, Callable[[torch.device], Capturing]] = {"cuda": Capturing}  # by type of device


class GraphedSteps:
    """Steps of mask training, replayed where that is possible; their results are those of plain steps.

    Args:
        masked, adam: the model, on a device that captures, and the update of its logits.
        backward: calls the model ``passes`` times.
    """

    def __init__(self, masked: MaskedModel, adam: MaskAdam, backward: Backward, passes: int):
        self.masked, self.adam, self.backward, self.passes = masked, adam, backward, passes
        device = masked.logits.device
        self.capturing: Capturing | None = CAPTURING[device.type](device)
        adam.looks_later = True
        self._begin()

    def _begin(self) -> None:
        """Begin without graphs, for the logits as they are; these are kept, so that no others come to lie there."""
        self.logits = self.masked.logits.detach()
        self.seen: Counter[Hashable] = Counter()
        self.graphs: dict[Hashable, Callable[[Any], Made]] = {}

    def step(self, inputs: Any, targets: Any) -> Tensor:
        """Make one step of training, and return its loss, a scalar."""
        keys = [self.masked.next_keys() for _ in range(self.passes)]
        loss, norm = self._made((inputs, targets, keys, self.adam.rates()))
        self.adam.settle(norm)
        return loss

    def _made(self, given: Any) -> Made:
        if self.logits.data_ptr() != self.masked.logits.data_ptr():
            self._begin()
        device = self.logits.device
        cached = torch.is_autocast_enabled(device.type) and torch.is_autocast_cache_enabled()
        kind = None if cached else _kind(given, device)
        if self.capturing is None or kind is None or (kind not in self.seen and len(self.seen) == KINDS):
            return self._work(given)
        self.seen[kind] += 1
        if self.seen[kind] <= WARM_UP:
            return self.capturing.aside(lambda: self._work(given))
        if kind not in self.graphs:
            try:
                self.graphs[kind] = self._captured(given, self.capturing)
            except Exception as error:  # driver, libraries, model and loss each have types of their own
                self._give_up(error)
                return self._work(given)
        return self.graphs[kind](given)

    def _captured(self, given: Any, capturing: Capturing) -> Callable[[Any], Made]:
        """Capture a step of this kind, and return it as a function of what it is given."""
        static = map_tensors(lambda tensor: tensor.detach().clone(), given)
        replay, (loss, norm) = capturing.capture(lambda: self._work(static))

        def step(given: Any) -> Made:
            for buffer, tensor in zip(tensors(static), tensors(given), strict=True):
                buffer.copy_(tensor)
            replay()
            return loss.clone(), norm

        return step

    def _work(self, given: Any) -> Made:
        """All that the device does in a step."""
        inputs, targets, keys, rates = given
        self.masked.given = list(keys)
        try:
            return self.backward(inputs, targets), self.adam.update(rates)
        finally:
            self.masked.given = []

    def _give_up(self, error: Exception) -> None:
        """Make plain steps from now on; gradients that the capture left were never computed."""
        self.capturing, self.graphs = None, {}
        for tensor in (self.masked.logits, self.masked.weights, *self.masked.frozen_parameters().values()):
            tensor.grad = None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"A step of mask training could not be captured as a CUDA graph ({reason}): steps are launched one by one, "
            "with the same results; graphs=False makes no attempt.",
            stacklevel=2,
        )


def _kind(part: Any, device: torch.device) -> Hashable | None:
    """All of a batch but the numbers in tensors; None where these cannot be copied, or the rest not be told apart."""
    if isinstance(part, Tensor):
        fits = part.device == device and part.layout == torch.strided and not part.requires_grad
        return (part.dtype, part.shape, part.stride()) if fits else None
    if isinstance(part, Mapping | tuple | list):
        named = part.items() if isinstance(part, Mapping) else enumerate(part)
        kinds = [(name, _kind(one, device)) for name, one in named]
        return None if any(kind is None for _, kind in kinds) else (type(part), *kinds)
    return (type(part), part) if part is None or isinstance(part, bool | int | float | str) else None
