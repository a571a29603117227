"""Keeping memory that is freed, for training loops that free and take the same large buffers every step."""

import ctypes
import platform


def keep_freed_memory() -> None:
    """Tell glibc's allocator to keep freed memory; with other C libraries, do nothing.

    By default a buffer above 32 MB is given back to the system when it is freed, and each page of the next one is
    faulted in again: for large networks that is more than half of a step. For processes that only train.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
