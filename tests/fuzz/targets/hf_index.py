"""The index of a Hugging Face folder; one shard is there and whole."""

from __future__ import annotations

import struct
from pathlib import Path

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target

_HEADER = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
_SHARD = struct.pack("<Q", len(_HEADER)) + _HEADER + bytes(16)


def _read(data: bytes, folder: Path) -> object:
    (folder / "a.safetensors").write_bytes(_SHARD)
    (folder / "model.safetensors.index.json").write_bytes(data)
    return read_checkpoint(folder)


TARGET = Target(
    _read,
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
