"""The weight file of a package: MIL's blob storage, version 2.

    header    64 bytes   uint32 number of blobs, uint32 version, reserved
    record    64 bytes   uint32 0xDEADBEEF, uint32 type, uint64 bytes, uint64 offset of the data,
                         uint64 padding bits (of elements smaller than a byte), reserved
    data                 at its offset

Records and data are aligned to 64 bytes. A program names a blob by the offset of its record.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from runtimes.engines.mil.errors import MilError
from runtimes.engines.mil.tensors import Array, TensorType, from_bytes, stored_bytes

_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_VERSION = 2


class BlobFile:
    """One weight file, mapped: a tensor's pages are read when it is first used."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError as error:
            raise MilError(f"weight file {path} is missing") from error
        except ValueError as error:
            raise MilError(f"weight file {path} is empty") from error
        if len(self._data) < _RECORD.size:
            raise MilError(f"weight file {path} is cut short: {len(self._data)} bytes")
        version = _HEADER.unpack_from(self._data)[1]
        if version != _VERSION:
            raise MilError(f"weight file {path} has version {version}, expected {_VERSION}")

    def tensor(self, offset: int, kind: TensorType) -> Array:
        """Read the tensor whose record is at `offset`; a view into the file if bytes allow."""
        where = f"weight file {self._name}, offset {offset}"
        if offset + _RECORD.size > len(self._data):
            raise MilError(f"{where}: cut short, the file has {len(self._data)} bytes")
        sentinel, _, size, start, _ = _RECORD.unpack_from(self._data, offset)
        if sentinel != _SENTINEL:
            raise MilError(f"{where}: no blob here, found {sentinel:#010x}")
        if start + size > len(self._data):
            raise MilError(
                f"{where}: cut short, a blob ends at {start + size} of {len(self._data)} bytes"
            )
        expected = stored_bytes(kind)
        if size != expected:
            raise MilError(
                f"{where}: {size} bytes stored, {kind.dtype} {kind.shape} takes {expected}"
            )
        return from_bytes(self._data[start : start + size], kind)
