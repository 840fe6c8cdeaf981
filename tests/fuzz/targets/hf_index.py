"""The index of a Hugging Face folder; one shard is there and whole."""

from __future__ import annotations

import struct
from pathlib import Path

import torch  # noqa: F401 - here, so that no input has to pay for it

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target

_HEADER = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
_SHARD = struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(16)


def _read(data: bytes, folder: Path) -> object:
    (folder / "a.safetensors").write_bytes(_SHARD)
    (folder / "model.safetensors.index.json").write_bytes(data)
    return read_checkpoint(folder)


def _places(data: bytes) -> list[int]:
    """Behind each mark of the JSON."""
    return [i + 1 for i, byte in enumerate(data[:20_000]) if byte in b"{[,:"]


TARGET = Target(
    _read,
    places=_places,
    words=(
        b'"w":"a.safetensors",',
        b'"weight_map":{',
        b"../",
        b"/",
        b"\\u0000",
        b"\\ud800",
        b"\x1b]0;",
        b"[" * 100,
        b'{"":' * 100,
        b"null",
        b"NaN",
        b"[]",
        b"{}",
    ),
)
