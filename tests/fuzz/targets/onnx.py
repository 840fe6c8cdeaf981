"""ONNX: protobuf messages whose lengths a change breaks, so the words hold whole fields."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: F401 - here, so that no input has to pay for it

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target


def _read(data: bytes, folder: Path) -> object:
    file = folder / "model.onnx"
    file.write_bytes(data)
    return read_checkpoint(file)


TARGET = Target(
    _read,
    words=(
        b"\x08\x04\x08\x04\x10\x01",  # dims 4, 4, float
        b"\x10\x0b",  # float64
        b"\x70\x01",  # external
        b"\x42\x01w",
        b"\x4a\x10" + bytes(16),
        b"\x2a\x1a\x08\x04\x10\x01\x42\x01v\x4a\x10" + bytes(16),
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x6a\x10\x0a\x08location\x12\x04/dev",
        b"\x0b\x0c",
        b"\x0a" * 200,
        b"\x12\x80\x80\x80\x80\x08",
    ),
)
