"""Many files as one, so that a copy to or from a device is one call and is whole or refused.

A pack is `SAMPACK1`, the length of its index (8 bytes, little-endian), the index (JSON: a list of
name, size and sha256 in order), then the contents one after the other. The runner's Pack.swift
reads and writes the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from exporter.bundle.folder import hash_file
from exporter.bundle.ranges import Count
from exporter.bundle.reading import decode, parse
from exporter.errors import BundleError
from ios_harness.errors import AnswerError

MAGIC = b"SAMPACK1"
MOST_INDEX = 16 * 2**20
_WHAT = "the runner's answer"


@dataclass(frozen=True)
class Entry:
    """A file in a pack."""

    name: str
    size: Count
    sha256: str


@dataclass(frozen=True)
class _Index:
    files: tuple[Entry, ...]


def hash_of(content: Path | bytes) -> str:
    """Return the sha256 of a file or of bytes, in hex."""
    return sha256(content).hexdigest() if isinstance(content, bytes) else hash_file(content)


def write_pack(path: Path, files: Mapping[str, Path | bytes]) -> int:
    """Write a pack.

    Args:
        path: of the pack.
        files: name in it -> a file here, or the bytes themselves.

    Returns:
        Its size in bytes.
    """
    rows = [
        {"name": name, "size": _size(content), "sha256": hash_of(content)}
        for name, content in files.items()
    ]
    index = json.dumps({"files": rows}).encode()
    with path.open("wb") as stream:
        stream.write(MAGIC + len(index).to_bytes(8, "little") + index)
        for content in files.values():
            if isinstance(content, bytes):
                stream.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
    return path.stat().st_size


def read_pack(path: Path) -> dict[str, bytes]:
    """Read the files of a pack that a device gave.

    Raises:
        AnswerError: it is none, it was cut short, or a file differs from its hash.
    """
    raw = path.read_bytes()
    if not raw.startswith(MAGIC):
        raise AnswerError(f"{_WHAT} is no pack of ours: install the runner of this release")
    start = len(MAGIC) + 8
    length = int.from_bytes(raw[len(MAGIC) : start], "little")
    if length > MOST_INDEX or len(raw) < start + length:
        raise AnswerError(f"{_WHAT} is cut short ({len(raw)} bytes): measure again")
    try:
        index = parse(_Index, decode(raw[start : start + length], _WHAT), _WHAT)
    except BundleError as error:
        raise AnswerError(f"{error}: install the runner of this release") from None
    found: dict[str, bytes] = {}
    at = start + length
    for entry in index.files:
        content = raw[at : at + entry.size]
        at += entry.size
        if len(content) != entry.size:
            raise AnswerError(f"{_WHAT} is cut short at {len(raw)} bytes: measure again")
        if sha256(content).hexdigest() != entry.sha256:
            raise AnswerError(f"{_WHAT} was damaged on its way: try another cable or port")
        found[entry.name] = content
    return found


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
