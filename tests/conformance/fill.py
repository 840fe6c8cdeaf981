"""Deterministic weights and pictures for the conformance cases.

A case names every tensor of a published checkpoint; this says which values to put in it. The same
values went into the published implementation, whose outputs the case stores. numpy's legacy
`RandomState` is used because its stream is frozen by numpy's compatibility policy.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

BLOCK = 16


def tensor(
    name: str, shape: tuple[int, ...], salt: str, gain: float = 1.0
) -> npt.NDArray[np.float32]:
    """The values of one checkpoint tensor: their scale follows its role, read off its name."""
    seed = int.from_bytes(hashlib.sha256(f"{salt}:{name}".encode()).digest()[:4], "little")
    stream = np.random.RandomState(seed)
    count = math.prod(shape)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return (0.5 + stream.random_sample(count)).astype(np.float32).reshape(shape)
    draws = stream.standard_normal(count)
    if leaf == "weight" and len(shape) < 2:
        draws = 1.0 + 0.1 * draws
    else:
        draws *= _scale(name, leaf, shape, gain)
    return draws.astype(np.float32).reshape(shape)


def _scale(name: str, leaf: str, shape: tuple[int, ...], gain: float) -> float:
    if leaf == "running_mean":
        return 0.1
    if leaf == "weight":
        return gain / math.sqrt(math.prod(shape[1:]))
    if leaf == "bias":
        return 0.05
    return 1.0 if "gaussian_matrix" in name else 0.2


def is_filled(name: str, dtype: str) -> bool:
    """Whether a tensor is filled; counters keep the value that the code computes."""
    kept = ("num_batches_tracked", "dfl.conv.weight")
    return dtype.startswith(("float", "bfloat")) and not name.endswith(kept)


def picture(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3): coarse random blocks over a smooth ramp."""
    stream = np.random.RandomState(seed)
    size = (math.ceil(height / BLOCK), math.ceil(width / BLOCK), 3)
    blocks = stream.randint(0, 256, size=size).astype(np.float64)
    blocks = blocks.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:height, :width]
    down = np.linspace(0, 255, height)[:, None, None]
    across = np.linspace(255, 0, width)[None, :, None]
    mixed = 0.5 * blocks + 0.25 * down + 0.25 * across
    return np.clip(mixed, 0, 255).round().astype(np.uint8)
