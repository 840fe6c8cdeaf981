"""Precisions, one file each.

To add a precision: a file here with `PRECISION`, a file of the same name in the folder of each
target that supports it, and its floors in `runtimes.measures.FLOORS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from exporter import catalog
from exporter.closest import unknown
from exporter.errors import RequestError
from exporter.islands import Island

ALIASES = {
    "half": "fp16", "float16": "fp16", "f16": "fp16", "16": "fp16",
    "full": "fp32", "float32": "fp32", "float": "fp32", "f32": "fp32", "single": "fp32",
    "32": "fp32", "int4": "int4-weights", "w8": "int8-weights", "w4": "int4-weights",
    "w8a8": "int8", "8bit": "int8", "4bit": "int4-weights",
}  # fmt: skip

Number = Literal["float32", "float16", "int8", "int4"]
BLOCK = 32
"""Weights of a linear layer in 4 bits that share a scale, unless another number is asked for."""
PARITIES = ("usual", "literal")
"""How half arithmetic is checked that takes long here; see `runtimes.engines.Arithmetic`."""


@dataclass(frozen=True)
class Precision:
    """A named precision.

    Attributes:
        name: for `--precision`.
        summary: its storage and arithmetic, in words.
        weights: number format that weights are stored in.
        activations: number format of the arithmetic, if the target has it.
        keeps_float: parts of a graph that stay float32.
        floors: name of its row in `runtimes.measures.FLOORS`; empty for its own name.
        decoder: precision of graphs that see no image; empty for this one. They are small and
            quick, and lose the most in few bits.
        calibrated: whether pictures decide how numbers are rounded: ranges of values, or, if
            `compensates`, weights.
        compensates: whether weights of linear layers are rounded so that their errors make up for
            each other, see `exporter.compensation`.
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
    compensates: bool = False
    judged: bool = False

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return int(self.weights.removeprefix("float").removeprefix("int"))

    @property
    def has_ranges(self) -> bool:
        """Whether values are rounded too, so that their ranges are needed."""
        return self.activations == "int8"

    @property
    def floors_row(self) -> str:
        """Its row in `runtimes.measures.FLOORS`."""
        return self.floors or self.name

    def row(self) -> dict[str, object]:
        """Collect what `--list` shows of it."""
        return {
            "name": self.name,
            "summary": self.summary,
            "weights": self.weights,
            "activations": self.activations,
        }


def names() -> tuple[str, ...]:
    """List every precision of this release."""
    return tuple(catalog.option_name(name) for name in catalog.names(__name__))


def precisions() -> tuple[Precision, ...]:
    """Load every precision, those with the widest weights first."""
    return tuple(sorted(map(load_precision, names()), key=lambda each: -each.bits))


def load_precision(name: str) -> Precision:
    """Load a precision by name. RequestError lists the choices if there is none."""
    if re.fullmatch(r"b(rain)?f(loat|p)?16", name, re.IGNORECASE):
        raise RequestError(
            f"bfloat16 is not fp16, and no format here stores it; choose from {', '.join(names())}"
        )
    if name not in names():
        raise unknown("precision", name, names(), aliases=ALIASES)
    precision: Precision = catalog.load(__name__, catalog.entry_name(name), "PRECISION")
    return precision
