"""JSON -> dataclass: msgspec checks types, words and ranges; here are the places and messages."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from typing import Any, TypeVar

import msgspec

from exporter.errors import BundleError
from exporter.printable import printable

T = TypeVar("T")

_PLACE = re.compile(r"(?P<what>.*?)(?: - at (?:key in )?`\$(?P<place>.*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_EXPECTED = re.compile(r"Expected (?P<want>.*?)(?:, got (?P<got>.*))?", re.DOTALL)
_WORD = re.compile(r"Invalid enum value (?P<word>.*)", re.DOTALL)
_LARGEST = 2**63
_LONG_NUMBER = re.compile(rb"\d{19}")
"""Hardly a text holds so many digits: only then its numbers are looked at."""
_KEY = re.compile(rb'"[ \t\r\n]*:')
"""Ends a key."""


def decode(text: str | bytes, where: str) -> Any:
    """Decode JSON into plain data.

    Args:
        text: of bounded length; numbers take no more than 64 bits each.
        where: for the message.

    Raises:
        BundleError: not JSON (NaN and infinity are no JSON), nested too deep, a number too large.
    """
    try:
        data = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise BundleError(f"{where} is not JSON: {printable(str(error))}") from None
    except RecursionError:
        raise BundleError(f"{where} is not JSON that can be read: it is nested too deep") from None
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if _LONG_NUMBER.search(raw) and _holds_large(data):
        raise BundleError(f"{where} holds a whole number of more than 64 bits")
    if _count_colons(raw) != _count_keys(data):
        _refuse_twice(text, where)
    return data


def _refuse_twice(text: str | bytes, where: str) -> None:
    """BundleError if an object has a key twice: msgspec keeps the last, other readers the first."""

    def made(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        for name in names:
            if names.count(name) > 1:
                raise BundleError(f"{where} holds the field {printable(name)!r} twice")

    with contextlib.suppress(ValueError, RecursionError):  # of what msgspec read otherwise
        json.loads(text, object_pairs_hook=made)


def _count_colons(raw: bytes) -> int:
    """Count what may end a key: each key does, and a string may hold more of it."""
    if any(b'"' + blank in raw for blank in (b" ", b"\t", b"\r", b"\n")):
        return sum(1 for _ in _KEY.finditer(raw))
    return raw.count(b'":')  # of a line of many MB


def _count_keys(data: Any) -> int:
    count, waiting = 0, [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += len(value)
            waiting += value.values()
        # Half a million samples begin with a number. Keys that are overlooked cost care alone.
        elif isinstance(value, list) and value and isinstance(value[0], dict | list):
            waiting += value
    return count


def _holds_large(data: Any) -> bool:
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            return True
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return False


def parse(kind: type[T], data: Any, where: str) -> T:
    """Build the dataclass `kind` from plain JSON data.

    Args:
        kind: its annotations say types, words (`Literal`) and ranges (`msgspec.Meta`).
        data: as `decode` gives it.
        where: for the message, e.g. `manifest`.

    Raises:
        BundleError: a wrong type, an unknown word, a value out of range, a missing or an unknown
            field; names its place.
    """
    try:
        built = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise BundleError(_message(str(error), where)) from None
    except RecursionError:
        raise BundleError(f"{where} is nested too deep") from None
    _refuse_unknown(built, data, where)
    return built


def _refuse_unknown(built: Any, data: Any, where: str) -> None:
    """Refuse fields that `built` did not take: a newer release's would be lost in silence."""
    if dataclasses.is_dataclass(built):
        known = [field.name for field in dataclasses.fields(built)]
        for name in data:
            if name not in known:
                raise BundleError(
                    f"{where} has an unknown field {printable(name)!r}: get a newer release"
                )
        for name in known:
            if name in data:
                _refuse_unknown(getattr(built, name), data[name], f"{where}.{name}")
    elif isinstance(built, tuple) and built and dataclasses.is_dataclass(built[0]):
        for i, (item, raw) in enumerate(zip(built, data, strict=True)):
            _refuse_unknown(item, raw, f"{where}[{i}]")


def _message(error: str, where: str) -> str:
    """Turn msgspec's message, which ends with a place in `$`, into ours."""
    match = _PLACE.fullmatch(error)
    what, place = (match["what"], match["place"] or "") if match else (error, "")
    at = f"{where}{place}"
    missing, word = _MISSING.fullmatch(what), _WORD.fullmatch(what)
    expected = _EXPECTED.fullmatch(what)
    if missing:
        return f"{at} is missing the field {missing['name']!r}"
    if word:
        return f"{at} is {printable(word['word'])}, unknown to this release: get a newer release"
    if expected:
        instead = f", not {expected['got']}" if expected["got"] else ""
        return f"{at} should be {expected['want']}{instead}".replace("`", "")
    return f"{at}: {printable(what)}"
