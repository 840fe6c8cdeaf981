"""Precisions, one file each.

To add a precision: a file here with `PRECISION`, a file of the same name in the folder of each
target that supports it, and its floors in `runtimes.measures.FLOORS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter import catalog
from exporter.errors import RequestError
from exporter.islands import Island

Number = Literal["float32", "float16", "int8", "int4"]


@dataclass(frozen=True)
class Precision:
    """A named precision.

    Attributes:
        name: for `--precision`.
        summary: its storage and arithmetic, in words.
        weights: number format that weights are stored in.
        activations: number format of the arithmetic, if the runtime can.
        keeps_float: parts of a graph that stay float32.
        floors: name of its row in `runtimes.measures.FLOORS`; empty for its own name.
        decoder: precision of graphs that see no image; empty for this one. They are small and
            quick, and lose the most in few bits.
        calibrated: whether ranges of values are found on pictures.
        judged: whether masks on pictures decide if a bundle is good (`runtimes.gate`): rounding to
            few bits moves every number, and only the masks tell whether it matters.
    """

    name: str
    summary: str
    weights: Number
    activations: Number
    keeps_float: tuple[Island, ...] = ()
    floors: str = ""
    decoder: str = ""
    calibrated: bool = False
    judged: bool = False


def names() -> tuple[str, ...]:
    """List every precision of this release."""
    return tuple(name.replace("_", "-") for name in catalog.names(__name__))


def load_precision(name: str) -> Precision:
    """Load a precision by name. RequestError lists the choices if there is none."""
    if name not in names():
        raise RequestError(f"unknown precision {name!r}; choose from {', '.join(names())}")
    precision: Precision = catalog.load(__name__, name.replace("-", "_"), "PRECISION")
    return precision
