"""A graph's inputs and outputs as data. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; the only place its name is spelt.

    Attributes:
        name: the field's word for it, e.g. `point_coords`.
        shape: static.
        dtype: `float32`, or `uint8` for an image input that takes a pixel buffer.
        layout: axis letters, e.g. `NCHW`, or `RGB image` if Core ML takes a CVPixelBuffer.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str


Runs = Literal["image", "prompt", "frame"]
"""How often a graph runs: once an image, once a prompt, once a frame of a video."""


@dataclass(frozen=True)
class GraphSpec:
    """The ordered inputs and outputs of one graph, and how often it runs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runs: Runs
