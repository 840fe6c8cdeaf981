"""safetensors: 8 bytes of length, a JSON header, the tensors."""

from __future__ import annotations

import struct
from pathlib import Path

import torch  # noqa: F401 - here, so that no input has to pay for it

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target


def _read(data: bytes, folder: Path) -> object:
    file = folder / "model.safetensors"
    file.write_bytes(data)
    return read_checkpoint(file)


def _repair(data: bytes) -> bytes:
    """Let the length be that of the header again."""
    header = data[8 : data.rfind(b"}") + 1]
    return struct.pack("<Q", len(header)) + header + data[8 + len(header) :]


def _places(data: bytes) -> list[int]:
    """Behind each mark of the JSON."""
    return [i + 1 for i, byte in enumerate(data[:20_000]) if byte in b"{[,:"]


TARGET = Target(
    _read,
    places=_places,
    words=(
        b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},',
        b'"__metadata__":{"format":"pt"},',
        b'"dtype":"F16"',
        b'"dtype":"BF16"',
        b'"dtype":"F8_E4M3"',
        b'"shape":[0,18446744073709551615]',
        b'"data_offsets":[16,0]',
        b"[" * 100,
        b'{"":' * 100,
        b"null",
        b"true",
        b"1e999",
        b"-0",
        b"NaN",
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x1b]0;",
    ),
    repair=_repair,
)
