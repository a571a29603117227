"""A layer of an LSTM over packed sequences, for K groups of sequences at once, each with weights of its own.

One product gives the gradients of the weights over all tokens; only the states go step by step. These steps are
compiled, in ``lstm_layer.cpp``, where compiler and processor allow it; elsewhere they are torch's operations.
"""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from modules_lib.support import compile_cpp

State = tuple[Tensor, Tensor]  # hidden and cell state
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SOURCE, TITLE = Path(__file__).with_suffix(".cpp"), "The steps of LSTM layers"
# The arrays of the compiled functions, in the order of their structures in lstm_layer.cpp.
ARRAYS = {
    "forward": ("x", "weights", "state_weights", "bias", "hidden_before", "cell_before", "gates", "hidden", "cell"),
    "backward": (
        *("state_weights", "gates", "cell", "cell_before", "hidden_grad", "cell_grad"),
        *("gates_grad", "hidden_before_grad", "cell_before_grad"),
    ),
}
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}  # of the compiled steps
_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


class Layer:
    """The layer, and the states that it goes through.

    Tokens lie step by step, and each step has the first sequences of the one before.

    Args:
        weights: input weights [K, 4 units, inputs], state weights [K, 4 units, units], and the two biases
            [K, 4 units]; as those of :class:`torch.nn.LSTM`, each for K groups, or 1 where these have the same.
        state: hidden and cell state before the first step, [K, b, units] each.
        counts: sequences in each step, none more than in the step before; N in all.

    Raises:
        ValueError: sizes or types do not fit together; also in :meth:`step` and :meth:`run`.

    Attributes:
        gates: input, forget, cell and output gate of every token, activated, [K, N, 4 units].
        h, c: hidden and cell state after every token, [K, N, units] each.
    """

    def __init__(self, weights: list[Tensor], state: State, counts: list[int]):
        *weights, h, c = _in_one_type(*weights, *state)
        self.state = h.contiguous(), c.contiguous()
        self.inputs, self.recurrent = (weight.expand(len(h), -1, -1) for weight in weights[:2])
        self.bias = (weights[2] + weights[3]).unsqueeze(1)  # [K or 1, 1, 4 units]
        groups, size, units = h.shape
        _check("cell states", c, h, size, units)
        _check("input weights", self.inputs, h, 4 * units, self.inputs.shape[2])
        _check("state weights", self.recurrent, h, 4 * units, units)
        _check("biases", self.bias.expand(groups, -1, -1), h, 1, 4 * units)
        if sorted(counts, reverse=True) != counts or counts[0] > size:
            raise ValueError(f"The steps have {counts} of {size} sequences; none may have more than the step before.")
        self.gates = h.new_empty(groups, sum(counts), 4 * units)
        self.h, self.c = (h.new_empty(groups, sum(counts), units) for _ in range(2))
        self.counts, self.taken = counts, 0
        self._steps = [whole.split(counts, 1) for whole in (self.gates, self.h, self.c)]  # of each the parts

    def step(self, x: Tensor) -> Tensor:
        """Take one step, without gradient: [K, n, inputs] -> the hidden state after it, [K, n, units]."""
        [x] = _in_one_type(x)
        self._take(x, [self.taken])
        return self._steps[1][self.taken - 1]

    def run(self, x: Tensor) -> State:
        """Take all steps: packed [K, N, inputs] -> hidden and cell state after every token, [K, N, units] each.

        With gradients; after :meth:`step` has taken the steps, they are not taken again.
        """
        [x] = _in_one_type(x)
        return _Run.apply(x, *self.state, self.inputs, self.recurrent, self.bias, self)

    def _take(self, x: Tensor, steps: Sequence[int]) -> None:
        _check("inputs", x, self.h, sum(self.counts[t] for t in steps), self.inputs.shape[2])
        self.taken = steps[-1] + 1
        if forward := _compiled("forward", self.h, x.shape[2]):
            (weights, state_weights), (h, c) = self._laid_out, self.state
            given = {"x": x.contiguous(), "weights": weights, "state_weights": state_weights, "bias": self.bias}
            states = {"hidden_before": h, "cell_before": c, "gates": self.gates, "hidden": self.h, "cell": self.c}
            forward(self.counts, steps, given | states)
            return
        inputs = torch.bmm(x, self.inputs.mT) + self.bias  # [K, tokens of these steps, 4 units]
        for t, part in zip(steps, inputs.split([self.counts[t] for t in steps], 1), strict=True):
            gates, h, c = (parts[t] for parts in self._steps)
            before_h, before_c = (
                _before(t, self.counts, *states) for states in zip(self.state, self._steps[1:], strict=True)
            )
            torch.add(part, torch.bmm(before_h, self.recurrent.mT), out=gates)
            i, f, g, o = gates.chunk(4, 2)
            torch.sigmoid_(gates[..., : 2 * i.shape[2]])
            torch.tanh_(g)
            torch.sigmoid_(o)
            torch.addcmul(f * before_c, i, g, out=c)
            torch.mul(o, c.tanh(), out=h)

    @functools.cached_property
    def _laid_out(self) -> list[Tensor]:
        return [_laid_out(weights.mT) for weights in (self.inputs, self.recurrent)]


def layers_of(part: str, weights: dict[str, Tensor], states: list[State], counts: list[int]) -> list[Layer]:
    """Make the layers of a :class:`torch.nn.LSTM` in these states, for steps of so many sequences.

    Args:
        part: name of the LSTM, before its parameters' in ``weights``: name -> [K, ...], or [1, ...].
        states: of each layer.
    """
    names = ([f"{part}.{kind}_l{i}" for kind in KINDS] for i in range(len(states)))
    return [Layer([weights[name] for name in own], state, counts) for own, state in zip(names, states, strict=True)]


def _in_one_type(*tensors: Tensor) -> list[Tensor]:
    """The tensors, under autocast in its type: the backward pass multiplies with tensors that the steps save."""
    kind = tensors[0].device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(kind)) for tensor in tensors]


def _check(what: str, tensor: Tensor, states: Tensor, *sizes: int) -> None:
    """Refuse a tensor that lacks the groups and type of the layer's states, or these sizes behind the groups."""
    needed = (len(states), *sizes)
    if tuple(tensor.shape) != needed or tensor.dtype != states.dtype:
        raise ValueError(
            f"The {what} are {tensor.dtype} of {tuple(tensor.shape)}; the layer needs {states.dtype} of {needed}."
        )


def _before(t: int, counts: list[int], first: Tensor, after: Sequence[Tensor]) -> Tensor:
    """The states before step t, [K, n, units], of those before the first step and those after each."""
    return (after[t - 1] if t else first)[:, : counts[t]]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, c: Tensor, inputs: Tensor, recurrent: Tensor, bias: Tensor, layer: Layer
    ) -> State:
        if not layer.taken:
            layer._take(x, range(len(layer.counts)))
        ctx.save_for_backward(x, h, c, inputs, recurrent, layer.gates, layer.h, layer.c)
        ctx.counts, ctx.bias = layer.counts, bias.shape
        ctx.set_materialize_grads(False)
        return layer.h, layer.c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        (x, h0, c0, inputs, recurrent, gates, h, c), counts = ctx.saved_tensors, ctx.counts
        from_h, from_c = (None if grad is None else grad.contiguous() for grad in grads)
        d, dh, dc = torch.empty_like(gates), torch.zeros_like(h0), torch.zeros_like(c0)
        if backward := _compiled("backward", h):
            given = {"state_weights": _laid_out(recurrent), "gates": gates, "cell": c, "cell_before": c0}
            grads_of = {"hidden_grad": from_h, "cell_grad": from_c, "gates_grad": d}
            before_grads = {"hidden_before_grad": dh, "cell_before_grad": dc}
            backward(counts, range(len(counts)), given | grads_of | before_grads)
        else:
            _backward(counts, recurrent, gates, c, c0, from_h, from_c, d, dh, dc)
        hiddens = h.split(counts, 1)
        before = torch.cat([_before(t, counts, h0, hiddens) for t in range(len(counts))], 1)  # [K, N, units]
        dx = torch.bmm(d, inputs) if ctx.needs_input_grad[0] else None
        dinputs = torch.bmm(d.mT, x) if ctx.needs_input_grad[3] else None
        drecurrent = torch.bmm(d.mT, before) if ctx.needs_input_grad[4] else None
        dbias = d.sum(1, keepdim=True).sum_to_size(ctx.bias) if ctx.needs_input_grad[5] else None
        return dx, dh, dc, dinputs, drecurrent, dbias, None


def _backward(
    counts: list[int],
    recurrent: Tensor,
    gates: Tensor,
    c: Tensor,
    c0: Tensor,
    from_h: Tensor | None,
    from_c: Tensor | None,
    d: Tensor,
    dh0: Tensor,
    dc0: Tensor,
) -> None:
    """Fill the gradients of the gates before their activation, [K, N, 4 units], and of the states before all steps.

    ``from_h`` and ``from_c`` are gradients of all states from outside the layer, [K, N, units]; None for zeros.
    """
    nothing, cells = [None] * len(counts), c.split(counts, 1)
    parts = [nothing if whole is None else whole.split(counts, 1) for whole in (gates, c, from_h, from_c, d)]
    product, carried = dh0[:, :0], torch.zeros_like(dc0, dtype=torch.promote_types(dc0.dtype, torch.float32))
    for t, (own, cell, outer_h, outer_c, d_own) in reversed(list(enumerate(zip(*parts, strict=True)))):
        i, f, g, o = own.chunk(4, 2)
        dh = torch.zeros_like(cell) if outer_h is None else outer_h.clone()
        dh[:, : product.shape[1]] += product
        squashed = cell.tanh()
        dc = carried[:, : counts[t]] + _tanh_backward(dh * o, squashed)
        if outer_c is not None:
            dc += outer_c
        carried[:, : counts[t]] = dc * f
        dc, before = dc.to(dh.dtype), _before(t, counts, c0, cells)
        into = (_sigmoid_backward(dc * g, i), _sigmoid_backward(dc * before, f), _tanh_backward(dc * i, g))
        d_own.copy_(torch.cat([*into, _sigmoid_backward(dh * squashed, o)], 2))
        product = torch.bmm(d_own, recurrent)  # [K, n, units]
    dh0[:, : product.shape[1]] = product
    dc0.copy_(carried)


def _laid_out(weights: Tensor) -> Tensor:
    """[K, inputs, outputs] -> as compiled steps multiply with: in bfloat16, pairs of inputs lie side by side.

    Weights that all groups share are laid out once.
    """
    weights = weights[:1] if weights.stride(0) == 0 else weights
    if weights.dtype == torch.bfloat16 and weights.shape[1] % 2 == 0:
        weights = weights.unflatten(1, (-1, 2)).transpose(2, 3)  # [K, inputs / 2, outputs, 2]
    return weights.contiguous()


def _compiled(name: str, states: Tensor, inputs: int = 0) -> Callable[..., None] | None:
    """The function of ``lstm_layer.cpp`` for such states and so many inputs; None where there is none."""
    if states.dtype == torch.bfloat16 and (states.shape[2] % 2 or inputs % 2):
        return None  # pairs of inputs go together
    return _function(name, states.device.type, states.dtype)


@functools.cache
def _function(name: str, kind: str, dtype: torch.dtype) -> Callable[..., None] | None:
    if kind != "cpu" or dtype not in TYPES or not (library := compile_cpp.library(SOURCE, TITLE)):
        return None
    if not library[f"works_{TYPES[dtype]}"]():
        return None
    function = library[f"{name}_{TYPES[dtype]}"]
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p)

    def call(counts: list[int], steps: Sequence[int], named: dict[str, Tensor | None]) -> None:
        """Call the function with the address of each array and the distance between groups."""
        arrays = [named[one] for one in ARRAYS[name]]
        first, last, counted = arrays[0], arrays[-1], array.array("q", counts)
        assert first is not None and last is not None  # they have the inputs, and groups and units
        groups, _, units = last.shape
        sizes = array.array("q", (groups, units, first.shape[2], steps[0], steps[-1] + 1, _address(counted)))
        sizes.append(torch.get_num_threads())
        places = array.array("q")
        for one in arrays:
            places.extend((0, 0) if one is None else (one.data_ptr(), one.stride(0) if len(one) > 1 else 0))
        function(_address(sizes), _address(places))

    return call


def _address(numbers: array.array) -> int:
    return numbers.buffer_info()[0]
