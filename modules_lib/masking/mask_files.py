"""Mask files: safetensors with eight weights a byte, the fingerprint of their model, and a checksum.

Each mask is one tensor, ``task/parameter``, uint8 [ceil(n / 8)]: the weights in C order, the first in the highest bit.
The metadata have one entry, ``modules_lib masks 2``, a JSON object with

- ``tasks``: the names of the tasks, in order;
- ``shapes``: the shape of every masked parameter;
- ``model``: :func:`fingerprint` of the model, or null;
- ``alpha``: the penalty on each logit in mask training, or null;
- ``library``: the version of modules_lib that wrote the file;
- ``checksum``: SHA-256 of everything else in the file.

Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from modules_lib.masking.selection import effective

ENTRY = "modules_lib masks 2"
FIRST = "modules_lib masks"  # the entry of the first version: one task, no checksum

Tensors = Mapping[str, Tensor]  # parameter -> mask


def write(path: str | Path, tasks: Mapping[str, Tensors], model: nn.Module | None, alpha: float | None) -> None:
    """Write the masks of some tasks of one model. The file appears whole or not at all.

    Raises:
        ValueError: there is no task, or the tasks' masks are of different models.
    """
    shapes = [{name: list(tensor.shape) for name, tensor in masks.items()} for masks in tasks.values()]
    if not shapes or any(one != shapes[0] for one in shapes):
        raise ValueError(
            "A mask file holds the masks of at least one task, all of one model; write a file for each model."
        )
    packed = {
        f"{task}/{name}": torch.from_numpy(np.packbits(tensor.numpy().ravel()))
        for task, masks in tasks.items()
        for name, tensor in masks.items()
    }
    about = {
        "tasks": list(tasks),
        "shapes": shapes[0],
        "model": fingerprint(model) if model is not None else None,
        "alpha": None if alpha is None else float(alpha),
        "library": importlib.metadata.version("modules_lib"),
    }
    about["checksum"] = _checksum(about, packed)
    # One entry, since the order of several is not the same from one file to the next.
    partial = Path(path).with_name(Path(path).name + ".part")
    try:
        partial.write_bytes(to_safetensors(packed, {ENTRY: json.dumps(about)}))
        partial.replace(path)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); make its folder, make room or give access, and save again."
        ) from error


def read(path: str | Path, model: nn.Module | None) -> tuple[dict[str, dict[str, Tensor]], float | None]:
    """Read the masks of each task that :func:`write` wrote, bool tensors by parameter, and alpha.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds no masks, or was made for another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            packed = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = _about(path, metadata, packed)
        shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
        tasks = {
            task: {
                name: _unpack(packed[f"{task}/{name}" if ENTRY in metadata else name], shapes[name]) for name in shapes
            }
            for task in about["tasks"]
        }
    except FileNotFoundError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, NoMasksError):
            raise
        raise ValueError(f"{path} is damaged ({error}); delete it and make the masks again.") from error
    if model is not None:
        _check_fits(path, shapes, about["model"], model)
    return tasks, about["alpha"]


class NoMasksError(ValueError):
    """A safetensors file that holds no masks."""


def _about(path: str | Path, metadata: Mapping[str, str], packed: Tensors) -> dict[str, Any]:
    """The metadata, once the checksum of them and of the masks is found right; the first version has none."""
    if ENTRY in metadata:
        about = json.loads(metadata[ENTRY])
        if about.pop("checksum") != _checksum(about, packed):
            raise ValueError("its content does not have its checksum")
        return about
    if FIRST in metadata:
        return {"tasks": [""], "alpha": None} | json.loads(metadata[FIRST])
    raise NoMasksError(f"{path} holds no masks of this library; Masks.save writes such files.")


def _checksum(about: Mapping[str, Any], packed: Tensors) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for key, tensor in sorted(packed.items()):
        digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    if packed.dtype != torch.uint8 or packed.numel() != -(-math.prod(shape) // 8):
        raise KeyError(f"a mask of shape {shape} is not there in full")
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape))
    return torch.from_numpy(bits.astype(bool)).reshape(shape)


def _check_fits(path: str | Path, shapes: dict[str, tuple[int, ...]], trained_on: str | None, model: nn.Module) -> None:
    own = {name: tuple(parameter.shape) for name, parameter in effective(model).named_parameters()}
    for name, shape in shapes.items():
        if own.get(name) != shape:
            found = f"{name} of shape {own[name]}" if name in own else f"no parameter {name}"
            raise ValueError(
                f"{path} holds masks for another model: it masks {name} of shape {shape}, this model has {found}; "
                "load it with the model it was trained on."
            )
    if trained_on is not None and trained_on != fingerprint(model):
        raise ValueError(
            f"{path} holds masks for other weights of this architecture; load the weights they were trained on."
        )


def fingerprint(model: nn.Module) -> str:
    """Hash the names, shapes and values of a model's parameters and buffers: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
