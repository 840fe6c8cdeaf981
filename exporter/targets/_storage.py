"""How weights of few bits may be stored, where a target has the choice."""

from __future__ import annotations

from exporter.errors import RequestError
from exporter.targets import Options

PALETTES = {"int8-weights": (6,), "int4-weights": (4, 6)}
"""Precision -> bits of the palettes that its linear layers' weights may have instead."""


def require_storage(options: Options, precision: str) -> None:
    """RequestError if weights are not stored so in a precision."""
    if options.palette and options.palette not in PALETTES.get(precision, ()):
        able = [name for name in PALETTES if options.palette in PALETTES[name]]
        raise RequestError(
            f"--palette {options.palette} is for --precision {' or '.join(able)}, not {precision}"
        )
    if options.block and precision not in PALETTES:
        raise RequestError(f"--block is for --precision {' or '.join(PALETTES)}, not {precision}")
