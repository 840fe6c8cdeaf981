"""JSON -> dataclass: every field of a manifest is checked here. Standard library only."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, Literal, TypeVar

from exporter.errors import BundleError

T = TypeVar("T")


def parse(kind: type[T], data: Any, where: str) -> T:
    """Build the dataclass `kind` from plain JSON data; every field is checked."""
    if not isinstance(data, dict):
        raise BundleError(f"{where} should be an object, not {type(data).__name__}")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise BundleError(f"{where} has an unknown field {unknown[0]!r}")
    missing = sorted(
        n for n, f in fields.items() if n not in data and f.default is dataclasses.MISSING
    )
    if missing:
        raise BundleError(f"{where} is missing the field {missing[0]!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{n: _value(hints[n], data[n], f"{where}.{n}") for n in data})


def _value(kind: Any, data: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return parse(typing.cast(type[Any], kind), data, where)
    if origin is tuple and isinstance(data, list):
        return _tuple(arguments, data, where)
    if origin is dict and isinstance(data, dict):
        return {str(k): _value(arguments[1], v, f"{where}[{k}]") for k, v in data.items()}
    if origin is Literal:
        return _word(arguments, data, where)
    if origin is types.UnionType:
        return None if data is None else _value(arguments[0], data, where)
    return _plain(kind, data, where)


def _plain(kind: Any, data: Any, where: str) -> Any:
    if kind is float and type(data) in (int, float):
        return float(data)
    if type(data) is kind:
        return data
    raise BundleError(f"{where} should be {kind}, not {type(data).__name__}")


def _word(words: tuple[str, ...], data: Any, where: str) -> str:
    if data not in words:
        raise BundleError(
            f"{where} is {data!r}; this release knows {', '.join(words)}: get a newer release"
        )
    return str(data)


def _tuple(arguments: tuple[Any, ...], data: list[Any], where: str) -> tuple[Any, ...]:
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    if not endless and len(arguments) != len(data):
        raise BundleError(f"{where} should have {len(arguments)} values, not {len(data)}")
    if endless and arguments[0] is int and set(map(type, data)) <= {int}:
        return tuple(data)  # a profile has ten thousands of them; no place needs to be spelt
    kinds = [arguments[0]] * len(data) if endless else arguments
    return tuple(
        _value(kind, item, f"{where}[{i}]")
        for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
    )
