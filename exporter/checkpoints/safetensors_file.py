"""Read a safetensors file; explain why its library refuses a damaged one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from exporter.errors import CheckpointError


def read_safetensors(file: Path, size: int) -> dict[str, Tensor]:
    """Read tensors by name. CheckpointError if the file is damaged or empty."""
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(_why_unreadable(file, size, error)) from error
    if not tensors:
        raise CheckpointError("holds no tensors")
    return tensors


def _why_unreadable(file: Path, size: int, error: Exception) -> str:
    """Explain why the library refuses a safetensors file."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if 8 + length > size:
            return f"truncated: its header alone needs {8 + length} bytes, {size} are there"
        header = stream.read(length)
    try:
        ends = [v["data_offsets"][1] for k, v in json.loads(header).items() if k != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        expected = 0
    if expected > size:
        return f"truncated: expected {expected} bytes, {size} are there"
    return f"damaged: {error!s:.200}"
