"""A graph's inputs and outputs as data. Standard library and msgspec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from exporter.bundle.ranges import Layout, Name, Shape

Dtype = Literal["float32", "uint8"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph; the only place its name is spelt.

    Attributes:
        name: the field's word for it, e.g. `point_coords`.
        shape: static.
        dtype: `float32`, or `uint8` for an image input that takes a pixel buffer.
        layout: axis letters, e.g. `NCHW`, or `RGB image` if Core ML takes a CVPixelBuffer.
    """

    name: Name
    shape: Shape
    dtype: Dtype
    layout: Layout

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """The shape with channels first, whatever the graph's own layout."""
        if self.layout == "NHWC" and len(self.shape) == 4:
            batch, height, width, channels = self.shape
            return batch, channels, height, width
        return self.shape


Runs = Literal["image", "prompt", "frame", "panoptic"]
"""How often a graph runs: once an image, once a prompt, once a frame of a video, or once an image
of which everything is asked for."""


Tensors = Annotated[tuple[TensorSpec, ...], Meta(min_length=1, max_length=64)]


@dataclass(frozen=True)
class GraphSpec:
    """The ordered inputs and outputs of one graph, and how often it runs."""

    name: Name
    inputs: Tensors
    outputs: Tensors
    runs: Runs
