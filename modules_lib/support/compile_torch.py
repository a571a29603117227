"""Elementwise functions compiled into one pass over memory, where there is a compiler."""

import functools
import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch


def maybe_fused(function: Callable[..., Any], fuse: bool) -> Callable[..., Any]:
    return fused(function) if fuse else function


@functools.cache
def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for tensors of any size; where it cannot be compiled it stays as it is.

    The numbers are the same; sums may be rounded otherwise.

    The first call takes some seconds, less where the compiler's cache on disk has it.
    """
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
