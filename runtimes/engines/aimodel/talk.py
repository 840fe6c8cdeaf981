"""Messages between the engine and its process: a line of JSON, then the bytes of the arrays.

{"arrays": {"image": ["float32", [1, 3, 256, 256]]}}\\n  786432 bytes
{"error": "why", "toolkit": false}\\n
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO

import numpy as np

from exporter.bundle.layouts import Array

WIDENED = "widened"
"""Name of the one value in the first message: whether arithmetic is wider than in the file."""


class TalkError(RuntimeError):
    """The other side said what went wrong, or stopped in the middle of a message."""


class ToolkitError(TalkError):
    """The other side cannot import the runtime."""


def send(stream: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write arrays by name."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    head = {name: [array.dtype.name, list(array.shape)] for name, array in whole.items()}
    stream.write(json.dumps({"arrays": head}).encode() + b"\n")
    for array in whole.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def send_error(stream: IO[bytes], reason: str, *, toolkit: bool) -> None:
    """Write what went wrong, and whether the runtime itself did not load."""
    stream.write(json.dumps({"error": reason, "toolkit": toolkit}).encode() + b"\n")
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Array] | None:
    """Read arrays by name; None at the end of the stream.

    Raises:
        ToolkitError: the other side says that the runtime does not load.
        TalkError: it says another error, or stops in the middle.
    """
    line = stream.readline()
    if not line:
        return None
    message = json.loads(line)
    if "error" in message:
        raise (ToolkitError if message["toolkit"] else TalkError)(message["error"])
    return {name: _read(stream, *form) for name, form in message["arrays"].items()}


def _read(stream: IO[bytes], dtype: str, shape: list[int]) -> Array:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    data = stream.read(size)
    if len(data) != size:
        raise TalkError("the message ends early")
    return np.frombuffer(data, dtype).reshape(shape)
