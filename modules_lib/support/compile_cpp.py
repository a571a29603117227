"""C++ files of this package: compiled when they are first needed, and kept in the user's cache."""

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
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

FLAGS = "-std=c++17 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -shared -fPIC"
THREADS = "" if sys.platform == "darwin" else "-fopenmp"  # Apple's compiler has none
MACHINES = {  # torch's name of a set of instructions -> the compiler's flags for it
    "AVX512": "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    "AVX2": "-mavx2 -mfma",
}
TORCH = Path(torch.__file__).with_name("lib")
HEADER = Path(__file__).with_name("floats.h")
LINKED = [f"-I{HEADER.parent}", f"-L{TORCH}", f"-Wl,-rpath,{TORCH}", "-ltorch_cpu"]  # a list: the path may have spaces


@functools.cache
def library(source: Path, what: str) -> ctypes.CDLL | None:
    """Compile a C++ file, or take it from the user's cache where it was compiled before.

    Args:
        source: the file.
        what: the functions in it, as the warning calls them if they cannot be compiled.

    Returns:
        the library; None where it could not be compiled.
    """
    machine = MACHINES.get(torch.backends.cpu.get_cpu_capability(), "")
    command = [*shlex.split(os.environ.get("CXX", "c++")), *f"{FLAGS} {THREADS} {machine}".split(), str(source)]
    command += LINKED
    version = hashlib.sha256(
        repr((source.read_text(), HEADER.read_text(), command, torch.__version__)).encode()
    ).hexdigest()[:16]
    try:
        path = _cache() / f"{source.stem}-{version}.so"
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                made = Path(folder, path.name)
                subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, text=True)
                made.replace(path)  # at once, for processes that look at the same time
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        warnings.warn(
            f"{what} could not be compiled ({reason}): they take longer, with the same results up to rounding; "
            "they need a C++ compiler.",
            stacklevel=2,
        )
        return None


@functools.cache
def kernel(source: Path, what: str, name: str) -> Callable[[Sequence[Tensor]], None] | None:
    """Find a function of a C++ file for tensors on the CPU, of which it is given address, size and type.

    Args:
        source, what: as for :func:`library`.
        name: that of the function.
    """
    if (compiled := library(source, what)) is None:
        return None
    function = compiled[name]
    function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def call(tensors: Sequence[Tensor]) -> None:
        given = array.array("q")
        laid_out = [tensor.contiguous() for tensor in tensors]  # those that are written to are so already
        for tensor in laid_out:
            given.extend((tensor.data_ptr(), tensor.numel(), tensor.dtype == torch.bfloat16))
        function(given.buffer_info()[0], len(tensors), torch.get_num_threads())

    return call


def _cache() -> Path:
    """The folder for compiled files, beside what torch itself keeps in the user's cache."""
    folder = Path(torch.hub.get_dir()).with_name("modules_lib")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
