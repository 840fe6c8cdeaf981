"""Random weights sized so that values neither grow nor vanish. No torch."""

from __future__ import annotations

import math

import numpy as np


def values(
    name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> np.typing.NDArray[np.float32]:
    """Draw one tensor: a weight's size follows its fan-in, a norm's is near 1."""
    leaf = name.rpartition(".")[2]
    draws = rng.standard_normal(shape, np.float32)
    if leaf == "running_var":
        return np.float32(0.5) + rng.random(shape, np.float32)
    if leaf == "weight" and len(shape) < 2:
        return np.float32(1.0) + np.float32(0.1) * draws
    if leaf == "weight":
        return draws / np.float32(math.sqrt(math.prod(shape[1:])))
    sizes = {"bias": 0.05, "running_mean": 0.1, "positional_encoding_gaussian_matrix": 1.0}
    return draws * np.float32(sizes.get(leaf, 0.2))
