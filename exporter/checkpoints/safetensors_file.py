"""Find the tensors in a safetensors file: 8 bytes of length, a JSON header, the tensors' bytes.

The header is read here and not by the library, which opens files by name: what was opened and
hashed is what is read, and a header is bounded before it is parsed.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

from exporter.checkpoints.bounded_json import parse_bounded
from exporter.checkpoints.budget import LONGEST_NAME, MOST_RANK, MOST_SIDE, MOST_TENSORS
from exporter.checkpoints.contents import ITEM_BYTES, Contents, contiguous
from exporter.errors import CheckpointError
from exporter.printable import printable

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_OTHER_BYTES = {"uint16": 2, "uint32": 4, "uint64": 8}
_OTHER = {"U16": "uint16", "U32": "uint32", "U64": "uint64"}
_LONGEST_HEADER = 100_000_000
"""As the library has it."""


def read_safetensors(data: mmap.mmap) -> Contents:
    """Find every tensor. CheckpointError if the file is damaged, truncated or empty."""
    length = int.from_bytes(data[:8], "little")
    start = 8 + length
    if start > len(data):
        raise CheckpointError(
            f"truncated: its header alone needs {start} bytes, {len(data)} are there"
        )
    if length > _LONGEST_HEADER:
        raise CheckpointError(f"has a header of {length} bytes; no checkpoint does")
    try:
        header = parse_bounded(data[8:start])
    except ValueError as error:
        raise CheckpointError(f"damaged: its header is no JSON ({printable(str(error))})") from None
    if not isinstance(header, dict):
        raise CheckpointError("damaged: its header is no JSON object")
    about = header.pop("__metadata__", None)
    if not header:
        raise CheckpointError("holds no tensors")
    if len(header) > MOST_TENSORS:
        raise CheckpointError(f"holds more than {MOST_TENSORS} tensors; no checkpoint does")
    return _contents(header, data, start, _texts(about))


def _texts(about: Any) -> tuple[str, ...]:
    """List some of what the file says of itself."""
    values = list(about.values())[:50] if isinstance(about, dict) else []
    return tuple(text[:200] for text in values if isinstance(text, str))


def _contents(
    header: dict[str, Any], data: mmap.mmap, start: int, texts: tuple[str, ...]
) -> Contents:
    rows = [(name, *_fields(name, fields)) for name, fields in header.items()]
    expected = start + max(end for *_rest, end in rows)
    if expected > len(data):
        raise CheckpointError(f"truncated: expected {expected} bytes, {len(data)} are there")
    if expected < len(data):
        raise CheckpointError(f"damaged: {len(data) - expected} bytes belong to no tensor")
    storages, tensors, reached = {}, {}, 0
    for name, dtype, shape, begin, end in sorted(rows, key=lambda row: row[3:]):
        if begin != reached:
            raise CheckpointError(f"damaged: tensor {printable(name)} overlaps, or leaves a gap")
        reached = end
        storages[name] = memoryview(data)[start + begin : start + end]
        tensors[name] = contiguous(name, dtype, shape)
    return Contents({"": {name: tensors[name] for name in header}}, storages, texts=texts)


def _fields(name: str, fields: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Check a row of the header: dtype, shape, and where its bytes begin and end."""
    try:
        kind, sides, (begin, end) = fields["dtype"], fields["shape"], fields["data_offsets"]
        whole = [*sides, begin, end]
    except (TypeError, KeyError, ValueError) as error:
        raise _damaged(name, "has no dtype, shape and data_offsets") from error
    if not all(type(number) is int and 0 <= number <= MOST_SIDE for number in whole):
        raise _damaged(name, "has a side or an offset that is no whole number")
    if not isinstance(kind, str) or len(kind) > LONGEST_NAME:
        raise _damaged(name, "has no dtype")
    dtype = _DTYPES.get(kind) or _OTHER.get(kind) or printable(kind.lower(), 40)
    width = ITEM_BYTES.get(dtype) or _OTHER_BYTES.get(dtype)
    if len(sides) > MOST_RANK or math.prod(max(side, 1) for side in sides) > MOST_SIDE:
        raise _damaged(name, "has impossible sides")
    if (width is not None and end - begin != width * math.prod(sides)) or end < begin:
        raise _damaged(name, "has not the size it says")
    return dtype, tuple(sides), begin, end


def _damaged(name: str, why: str) -> CheckpointError:
    return CheckpointError(f"damaged: tensor {printable(name)} {why}")
