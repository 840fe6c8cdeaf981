"""Prompts for pictures to calibrate on: `prompts.json` in their folder.

    {"dog.jpg": [{"points": [[320, 240], [40, 60, 0]], "box": [100, 80, 420, 360]}], ...}

A list for each picture, one entry for each object: points as X, Y or X, Y, LABEL (1 is foreground,
which is the default, 0 background), a box as X0, Y0, X1, Y1, or both; in pixels of the upright
picture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from exporter.bundle.prompts import Prompts
from exporter.errors import RequestError
from exporter.printable import printable

MOST_BYTES = 4 * 2**20
MOST_OBJECTS = 16
"""Of one picture."""
_KEYS = frozenset({"points", "box"})


def read_prompts(path: Path) -> dict[str, tuple[Prompts, ...]]:
    """Read a `prompts.json`: picture's name -> the prompts of its objects.

    Raises:
        RequestError: it is broken, has unknown keys, or names a picture that is missing.
    """
    shown = printable(str(path))
    data = _decode(path, shown)
    if not isinstance(data, dict):
        raise RequestError(f'{shown} should hold an object: {{"PICTURE": [{{...}}, ...], ...}}')
    for name in data:
        if "/" in name or not _is_file(path.parent / name):
            raise RequestError(f"{shown} names '{printable(name)}', which is not in that folder")
    return {name: _objects(listed, f"{shown}: {printable(name)}") for name, listed in data.items()}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, as one of 5,000 letters
        return False


def _decode(path: Path, shown: str) -> Any:
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise RequestError(f"{shown} has more than {MOST_BYTES >> 20} MB")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except OSError as error:
        raise RequestError(f"{shown} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise RequestError(f"{shown} is no JSON that can be read: it is nested too deep") from None
    except ValueError as error:
        raise RequestError(
            f"{shown} is no JSON that can be read: {printable(str(error))}"
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return made


def _constant(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _objects(listed: Any, place: str) -> tuple[Prompts, ...]:
    if not isinstance(listed, list) or not listed:
        raise RequestError(f"{place} should be a list of objects, each with points, a box or both")
    if len(listed) > MOST_OBJECTS:
        raise RequestError(f"{place} has {len(listed)} objects: give {MOST_OBJECTS} at most")
    return tuple(_prompts(each, f"{place}[{at}]") for at, each in enumerate(listed))


def _prompts(given: Any, place: str) -> Prompts:
    if not isinstance(given, Mapping) or not given or not given.keys() <= _KEYS:
        odd = sorted(given.keys() - _KEYS) if isinstance(given, Mapping) else []
        fault = f"has an unknown key '{printable(odd[0])}'" if odd else "is not like that"
        raise RequestError(f'{place} {fault}: {{"points": [[X, Y, LABEL], ...], "box": [...]}}')
    points = _numbers(given.get("points", []), list[list[float]], f"{place}.points")
    box = _numbers(given.get("box"), list[float] | None, f"{place}.box")
    if any(len(point) not in (2, 3) for point in points):
        raise RequestError(f"{place}.points should be X, Y or X, Y, LABEL each")
    if box is not None and len(box) != 4:
        raise RequestError(f"{place}.box should be X0, Y0, X1, Y1")
    labels = tuple(point[2] if len(point) == 3 else 1.0 for point in points)
    if not set(labels) <= {0.0, 1.0}:
        raise RequestError(f"{place}.points: LABEL is 1 (foreground) or 0 (background)")
    return Prompts(
        tuple((point[0], point[1]) for point in points),
        tuple(map(int, labels)),
        None if box is None else (box[0], box[1], box[2], box[3]),
    )


def _numbers(given: Any, kind: Any, place: str) -> Any:
    try:
        return msgspec.convert(given, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        said = printable(str(error)).replace("`", "")
        raise RequestError(f"{place} should be numbers: {said}") from None
