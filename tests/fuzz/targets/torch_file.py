"""What is around the pickle: zip archives and the row of pickles that torch < 1.6 wrote."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: F401 - here, so that no input has to pay for it

from exporter.checkpoints.reading import read_checkpoint
from tests.fuzz.target import Target


def _read(data: bytes, folder: Path) -> object:
    file = folder / "checkpoint.pt"
    file.write_bytes(data)
    return read_checkpoint(file)


TARGET = Target(
    _read,
    words=(
        b"PK\x03\x04",
        b"PK\x01\x02",
        b"PK\x05\x06",
        b"PK\x06\x06",
        b"PK\x06\x07",
        b"data.pkl",
        b"byteorder",
        b"little",
        b"\x80\x02",
        b"\xff" * 4,
        bytes(8),
    ),
)
