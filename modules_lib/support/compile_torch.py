"""Elementwise functions compiled into one pass over memory, where there is a compiler."""

import functools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from modules_lib.support import compile_cpp
from modules_lib.support.trees import tensors

F = TypeVar("F", bound=Callable[..., None])
IN_CPP: dict[Callable[..., None], tuple[Path, str, str]] = {}  # function -> file, title and name of the one in C++
TYPES = {torch.float32, torch.bfloat16, torch.int32}


def in_cpp(source: Path, title: str, name: str) -> Callable[[F], F]:
    """Mark a function over tensors that is there in C++, too, for the CPU.

    Torch's compiler traces each function anew in every process, which takes seconds also where its cache has it.
    """

    def mark(function: F) -> F:
        IN_CPP[function] = source, title, name
        return function

    return mark


def ready(function: Callable[..., None], device: torch.device) -> bool:
    """Tell whether a function is there in C++ for this device, so that nobody waits for torch's compiler."""
    return function in IN_CPP and device.type == "cpu" and compile_cpp.kernel(*IN_CPP[function]) is not None


def maybe_fused(function: Callable[..., Any], fuse: bool) -> Callable[..., Any]:
    return fused(function) if fuse else function


@functools.cache
def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for tensors of any size; where it cannot be compiled it stays as it is.

    The numbers are the same up to rounding. The first call of what torch compiles takes some seconds, less where the
    compiler's cache on disk has it.
    """
    if function not in IN_CPP:
        return _compiled_by_torch(function)

    place = IN_CPP[function]

    def call(*arguments: Any) -> Any:
        given = list(tensors(arguments))
        on_cpu = all(one.is_cpu and one.dtype in TYPES for one in given)
        if on_cpu and (kernel := compile_cpp.kernel(*place)):
            return kernel(given)
        return _compiled_by_torch(function)(*arguments)

    return call


@functools.cache
def _compiled_by_torch(function: Callable[..., Any]) -> Callable[..., Any]:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of CUDA that nobody asked for
    # One version a precision, K and kind of piece: more than the eight that torch stops at.
    compiled: Callable[..., Any] | None = torch.compile(function, dynamic=True, recompile_limit=64)  # type: ignore[call-overload]

    def call(*arguments: Any) -> Any:
        nonlocal compiled
        if compiled is not None:
            try:
                return compiled(*arguments)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # no compiler, no Python headers, no Triton: torch has a type for each
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(
                    f"{function.__qualname__} could not be compiled ({reason}): it runs about ten times slower, with "
                    "the same results; it needs a C++ compiler and Python's headers.",
                    stacklevel=2,
                )
                compiled = None
        return function(*arguments)

    return call
