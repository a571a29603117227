"""Random numbers as a function of (seed, stage, step, sample, position): a hash, not a generator with a state.

The backward pass of a sampler then makes again what its forward pass drew, and a run can be resumed anywhere.
"""

import functools
import hashlib

import torch
from torch import Tensor

BLOCK = 1000  # steps for which what comes from the host is made at once and copied to the device


def key(*parts: int | str) -> tuple[int, int]:
    """Name a stream of random numbers by two signed 32-bit words, e.g. ``key(seed, "add", step, sample)``."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4], "little", signed=True), int.from_bytes(digest[4:], "little", signed=True)


def keys(*parts: int | str, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Make ``key(*parts, i)`` for each i below ``count``: int32 [count, 2].

    They are hashed on the host. Where the last part is a number, such as a step, those of BLOCK numbers are made at
    once and kept, so that a step copies nothing to the device.
    """
    *stream, last = parts
    if type(last) is not int:
        return torch.tensor([key(*parts, i) for i in range(count)], dtype=torch.int32, device=device)
    return _block(tuple(map(str, stream)), last // BLOCK, count, torch.device(device))[last % BLOCK].detach()


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _block(stream: tuple[str, ...], block: int, count: int, device: torch.device) -> Tensor:
    """The keys of a block of steps: int32 [BLOCK, count, 2]."""
    rows = [[key(*stream, block * BLOCK + row, i) for i in range(count)] for row in range(BLOCK)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


def mask_keys(*parts: int | str, samples: int, device: torch.device | str = "cpu") -> Tensor:
    """Make the keys of K mask samples, int32 [(K + 1) // 2, 2]: one for every two (see :func:`mask_noise`)."""
    return keys(*parts, count=(samples + 1) // 2, device=device)


def uniforms(keys: Tensor, size: int, start: Tensor | int = 0) -> Tensor:
    """Draw uniform numbers in (0, 1) from a hash of key and position.

    Args:
        keys: int32 [S, 2], one stream a row.
        size: how many numbers of each stream.
        start: the position of the first; or [size], the position of each.

    Returns:
        float32 [S, size], from 2^-24 to 1 - 2^-24 in steps of 2^-23: neither 0 nor 1 occurs.
    """
    return _unit(_hash(keys, size, start))


def mask_noise(keys: Tensor, samples: int, size: int, start: Tensor | int = 0) -> list[Tensor]:
    """Draw the uniform numbers of K mask samples, K times float32 [size], from :func:`mask_keys`.

    Two samples share a hash: the second reads its bits with the halves exchanged. Each has the distribution of
    :func:`uniforms`; they depend on one another through their last bits alone, a correlation of 2^-15.
    """
    hashes = [_hash(keys[j : j + 1], size, start)[0] for j in range(len(keys))]
    return [_unit(_exchange_halves(hashes[k // 2]) if k % 2 else hashes[k // 2]) for k in range(samples)]


def integers(keys: Tensor, size: int, below: int) -> Tensor:
    """Draw uniform integers from 0 to ``below - 1``: int64 [S, size]."""
    # A float32 close to 1 times `below` can round up to `below`.
    return (uniforms(keys, size) * below).long().clamp_(max=below - 1)


# Odd multipliers of a 32-bit mixing function with low bias, found by search: C. Wellons, "Prospecting for hash
# functions" (2018). The second is written as the signed number with the same 32 bits.
_MIX_1, _MIX_2 = 0x7FEB352D, 0x846CA68B - (1 << 32)


def _hash(keys: Tensor, size: int, start: Tensor | int) -> Tensor:
    """[S, 2] -> int32 [S, size]."""
    each = isinstance(start, Tensor) and start.dim() > 0
    position = start if each else torch.arange(size, dtype=torch.int32, device=keys.device) + start
    x = position ^ keys[:, :1]  # [S, size]
    # Shifts of signed integers copy the sign; the masks make them logical. Products wrap modulo 2^32. The second
    # key word enters between the rounds: two streams are then never shifted copies of one another.
    x = (x ^ ((x >> 16) & 0xFFFF)) * _MIX_1 + keys[:, 1:]
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _MIX_2
    return x ^ ((x >> 16) & 0xFFFF)


def _exchange_halves(x: Tensor) -> Tensor:
    return (x << 16) | ((x >> 16) & 0xFFFF)


def _unit(x: Tensor) -> Tensor:
    # 23 bits and a half: one bit more would round up to exactly 1, where the sampler's slope is 0 / 0.
    return (((x >> 9) & 0x7FFFFF).float() + 0.5) * 2.0**-23
