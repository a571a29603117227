"""One step of an LSTM layer, all that is not a product of matrices: in one pass over memory where there is a compiler.

Arrays are [K, n, units] or [K, n, 4 units], of K groups with n sequences each; they may be rows of larger ones. The
four parts of gates are input, forget, cell and output gate.
"""

from __future__ import annotations

import array
import ctypes
import functools
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

SOURCE = Path(__file__).with_name("cell.cpp")
FLAGS = "-std=c++17 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -shared -fPIC"
THREADS = "" if sys.platform == "darwin" else "-fopenmp"  # Apple's compiler has none
MACHINES = {  # torch's names for what a processor can do
    "AVX512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    "AVX2": "-mavx2 -mfma",
}
Compiled = Callable[[int, int], None]
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_sigmoid_backward = torch.ops.aten.sigmoid_backward
_tanh_backward = torch.ops.aten.tanh_backward


def forward(
    x: Tensor,
    product: Tensor,
    bias: Tensor,
    before: Tensor,
    gates: Tensor,
    cell: Tensor,
    hidden: Tensor,
    following: int,
) -> Tensor:
    """The states after a step.

    Args:
        x, product, bias: what the inputs and the last hidden state give to the gates, [K, n, 4 units]; and the bias,
            [K or 1, 1, 4 units].
        before: the cell state before the step, [K, n, units].
        gates, cell, hidden: filled with the activated gates and the states after it. ``gates`` may be ``x``.
        following: how many of the sequences go on, the first ones.

    Returns:
        Their hidden state, contiguous, [K, following, units].
    """
    packed = hidden.new_empty(hidden.shape[0], following, hidden.shape[2])
    if compiled := _compiled("forward", cell.device.type, cell.dtype):
        _call(compiled, cell, following, x, product, bias.expand(len(x), -1, -1), before, gates, cell, hidden, packed)
        return packed
    torch.add(x, product + bias, out=gates)
    i, f, g, o = gates.chunk(4, 2)
    torch.sigmoid_(gates[..., : 2 * i.shape[2]])
    torch.tanh_(g)
    torch.sigmoid_(o)
    torch.addcmul(f * before, i, g, out=cell)
    torch.mul(o, cell.tanh(), out=hidden)
    return packed.copy_(hidden[:, :following])


def backward(
    gates: Tensor,
    cell: Tensor,
    before: Tensor,
    hidden_grad: Tensor | None,
    cell_grad: Tensor | None,
    product: Tensor,
    carried: Tensor,
    gates_grad: Tensor,
) -> Tensor:
    """The gradients of a step.

    Args:
        gates, cell, before: of :func:`forward`.
        hidden_grad, cell_grad: gradients of the states from outside the layer, [K, n, units]; None for zeros.
        product: the hidden state's gradient from the next step, [K, m, units], of the m <= n sequences that it had.
        carried: the cell state's gradient from the next step, [K, n, units], at least float32; replaced by this step's.
        gates_grad: filled with the gradient of the gates before their activation, [K, n, 4 units].

    Returns:
        ``gates_grad``, contiguous.
    """
    packed = gates_grad.new_empty(gates_grad.shape)
    if compiled := _compiled("backward", cell.device.type, cell.dtype):
        arrays = (gates, cell, before, hidden_grad, cell_grad, product, carried, gates_grad, packed)
        _call(compiled, cell, product.shape[1], *arrays)
        return packed
    i, f, g, o = gates.chunk(4, 2)
    dh = torch.zeros_like(cell) if hidden_grad is None else hidden_grad.clone()
    dh[:, : product.shape[1]] += product
    squashed = cell.tanh()
    dc = carried + _tanh_backward(dh * o, squashed)
    if cell_grad is not None:
        dc += cell_grad
    carried.copy_(dc * f)
    dc = dc.to(dh.dtype)
    into = (_sigmoid_backward(dc * g, i), _sigmoid_backward(dc * before, f), _tanh_backward(dc * i, g))
    torch.cat([*into, _sigmoid_backward(dh * squashed, o)], 2, out=packed)
    gates_grad.copy_(packed)
    return packed


def _call(compiled: Compiled, cell: Tensor, following: int, *arrays: Tensor | None) -> None:
    """Of each array it is told the address and the distance between groups."""
    sizes = array.array("q", (*cell.shape, following, torch.get_num_threads()))
    numbers = array.array("q")
    for one in arrays:
        numbers.extend((0, 0) if one is None else (one.data_ptr(), one.stride(0)))
    compiled(sizes.buffer_info()[0], numbers.buffer_info()[0])


@functools.cache
def _compiled(name: str, kind: str, dtype: torch.dtype) -> Compiled | None:
    """The compiled pass for such tensors, None where there is none."""
    library = _library() if kind == "cpu" and dtype in TYPES else None
    if library is None:
        return None
    compiled = library[f"{name}_{TYPES[dtype]}"]
    compiled.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    return compiled


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The compiled steps, from the user's cache where they were compiled before; None where they cannot be."""
    flags = f"{FLAGS} {THREADS} {MACHINES.get(torch.backends.cpu.get_cpu_capability(), '')}".split()
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    version = hashlib.sha256(repr((SOURCE.read_text(), compiler, flags)).encode()).hexdigest()[:16]
    try:
        path = user_cache_path("modules_lib", ensure_exists=True) / f"cell-{version}.so"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made = Path(folder, path.name)
                subprocess.run([*compiler, *flags, SOURCE, "-o", made], check=True, capture_output=True, text=True)
                made.replace(path)  # at once, for processes that look at the same time
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        warnings.warn(
            f"The steps of LSTM layers could not be compiled ({reason}): they take up to half as long again, with the "
            "same results up to rounding; a C++ compiler is what they need.",
            stacklevel=2,
        )
        return None
