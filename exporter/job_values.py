"""What the fields of a Job may hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from exporter import targets
from exporter.bundle.rules import SIDES
from exporter.errors import RequestError
from exporter.printable import quote


def require_type(place: str, value: Any, *types: type) -> Any:
    """Return the value. RequestError if it is of no such type, or a path with a NUL."""
    if not isinstance(value, types):
        names = " or ".join("None" if each is type(None) else each.__name__ for each in types)
        raise RequestError(f"{place} is a {names}, not {quote(value)}")
    if Path in types and "\0" in str(value):
        raise RequestError(f"{place} is no path: {quote(value)} holds a NUL")
    return value


def require_sides(place: str, value: Any) -> None:
    """RequestError if a value is no side of an input, no height and width, and not None."""
    if value is None:
        return
    sides = value if isinstance(value, tuple) else (value,)
    if not 1 <= len(sides) <= 2:
        raise RequestError(f"{place} is a side, or a height and a width, not {quote(value)}")
    for side in sides:
        targets.require_choice(place, side, SIDES)


def target_names(given: Any) -> tuple[str, ...]:
    """Return the names, each once. RequestError if there is none, or they are not names."""
    if not isinstance(given, (tuple, list)) or not all(isinstance(each, str) for each in given):
        raise RequestError(f"Job.targets is a tuple of names, as ('onnx',), not {quote(given)}")
    if not given:
        raise RequestError(f"Job.targets is empty; choose from {', '.join(targets.names())}")
    return tuple(dict.fromkeys(given))


def number(place: str, value: Any) -> float:
    """Return the value. RequestError if it is no number."""
    if isinstance(value, bool):
        raise RequestError(f"{place} is a float, not {quote(value)}")
    return float(require_type(place, value, float, int))


def patterns(part: str, given: Any) -> tuple[str, ...]:
    """Return the patterns, each once. RequestError if they are none."""
    named = isinstance(given, (tuple, list)) and all(isinstance(each, str) for each in given)
    if not named or not all(each and each.isprintable() and len(each) <= 200 for each in given):
        raise RequestError(
            f"Job.{part} is a tuple of names with * and ?, as ('*.neck',), not {quote(given)}"
        )
    return tuple(dict.fromkeys(given))
