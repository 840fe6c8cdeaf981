"""A program as read from a package: plain data, free of protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.engines.mil.tensors import Array, TensorType


@dataclass(frozen=True)
class Feature:
    """One input or output of the model.

    Attributes:
        name: As the model's description spells it.
        shape: None is a dimension known only at run time.
        dtype: The program's type, such as `float16`. Floats are passed in and out as float32,
            whatever their type here.
        color: `RGB`, `BGR` or `GRAYSCALE` for an image, which is fed as a float array
            (1, channels, H, W) in 0..255; empty for an array.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    color: str = ""

    @property
    def kind(self) -> TensorType:
        """Shape and type together."""
        return TensorType(self.dtype, self.shape)


@dataclass(frozen=True)
class Port:
    """A tensor that an operation writes."""

    name: str
    kind: TensorType


@dataclass(frozen=True)
class Instruction:
    """One operation; an argument is a list, mostly of one, of tensor names and constants."""

    operation: str
    arguments: Mapping[str, tuple[str | Array, ...]]
    outputs: tuple[Port, ...]

    @property
    def label(self) -> str:
        """Its name in error messages."""
        return f"operation '{self.operation}' (output '{self.outputs[0].name}')"

    def reads(self) -> list[str]:
        """List the tensors it reads, except constants written in the program text."""
        return [s for group in self.arguments.values() for s in group if isinstance(s, str)]


@dataclass(frozen=True)
class Graph:
    """A whole program: its constants, and the other operations in the order they run."""

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    constants: Mapping[str, Array]
    steps: tuple[Instruction, ...]
    specification_version: int
