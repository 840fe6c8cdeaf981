"""What a precision means; one file each, with `PRECISION`. A target says how it keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from exporter import catalog
from exporter.errors import RequestError

PLANNED = ("int8", "int8-weights", "int4-weights")


@dataclass(frozen=True)
class Precision:
    """A named precision.

    Attributes:
        name: what `--precision` takes.
        summary: what is stored and what is computed.
    """

    name: str
    summary: str


def load_precision(name: str) -> Precision:
    """The precision called `name`; RequestError with the list of those there are."""
    if name in PLANNED:
        known = ", ".join(catalog.names("exporter.precision"))
        raise RequestError(f"precision {name} is not available in this release; there are: {known}")
    precision: Precision = catalog.load("exporter.precision", name, "PRECISION")
    return precision
