"""Read one .npz with bounds: nothing is inflated that is larger than the caller allows.

numpy's own reader trusts what a file says of its sizes; a bundle may come from anybody. numpy only.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from exporter.errors import BundleError
from exporter.printable import printable

MOST_ENTRIES = 4096
_SUFFIX = ".npy"
_LOCAL = 30
"""Bytes of an entry's own header, before its name."""
_HEADER = 4096
"""The most bytes of an array's own header; it is text, and parsed."""
_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # encrypted, or a compression that zipfile does not have
    OverflowError,
)
_MAGIC = b"\x93NUMPY\x01\x00"
_DESCRIPTION = re.compile(
    rb"\{'descr': '(?P<dtype>[<|][fiub][1248])', 'fortran_order': (?P<order>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,10},? ?){0,8})\), \} *\n"
)
"""As numpy writes it; its own reader takes any Python literal."""

Limit = Callable[[str], int]
"""Key -> the most bytes of its numbers; 0 if there is no such array."""


def list_arrays(path: Path, limit: Limit, most: int) -> dict[str, zipfile.ZipInfo]:
    """List the arrays of a file that may be read, by arithmetic on its directory alone.

    Args:
        path: of the file.
        limit: for each array.
        most: bytes of all arrays together.

    Returns:
        Key -> its entry, for `read_array`.

    Raises:
        BundleError: it cannot be read, or claims more than it may hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except _FAULTS as error:
        raise _unreadable(path, error) from None
    if len(entries) > MOST_ENTRIES:
        raise BundleError(f"{path} claims to hold {len(entries)} arrays: it is no goldens file")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise BundleError(f"{path} holds an array twice; export the bundle again")
    total, found = 0, dict[str, zipfile.ZipInfo]()
    for entry in entries:
        key = entry.filename.removesuffix(_SUFFIX)
        allowed = limit(key) if entry.filename.endswith(_SUFFIX) else 0
        if not allowed:
            raise BundleError(
                f"{path} holds {printable(entry.filename)!r}, which is none of its graphs' arrays; "
                "export the bundle again"
            )
        found[key] = entry
        if entry.file_size > allowed + _HEADER:
            raise BundleError(
                f"{path} claims {entry.file_size} bytes for {printable(entry.filename)!r}, and the "
                f"manifest's shapes allow {allowed}"
            )
        total += entry.file_size
    if total > most:
        raise BundleError(f"{path} claims {total} bytes, and the manifest's shapes allow {most}")
    return found


def read_array(path: Path, entry: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """Read one array that `list_arrays` has listed. BundleError if it cannot be read.

    The directory is not read again: a check reads a hundred arrays.
    """
    try:
        return _array(io.BytesIO(_content(path, entry)), entry.file_size)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def _content(path: Path, entry: zipfile.ZipInfo) -> bytes:
    """Inflate an entry to the size its directory claims. ValueError if it is another."""
    if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is encrypted, or packed in a way that goldens are not")
    if entry.compress_size > 2 * entry.file_size + _HEADER:
        raise ValueError("it is packed larger than it is")
    with path.open("rb") as stream:
        stream.seek(entry.header_offset)
        head = stream.read(_LOCAL)
        name, extra = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
        stream.seek(name + extra, io.SEEK_CUR)
        packed = stream.read(entry.compress_size)
    content = packed
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.file_size + 1)
    if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise ValueError(f"{entry.filename} is damaged")
    return content


def _array(stream: IO[bytes], size: int) -> npt.NDArray[Any]:
    """Parse a header, and read as many bytes as it promises. ValueError if they do not fit."""
    start = stream.read(len(_MAGIC) + 2)
    if start[: len(_MAGIC)] != _MAGIC:
        raise ValueError("an array of another form")
    header = stream.read(int.from_bytes(start[len(_MAGIC) :], "little"))
    match = _DESCRIPTION.fullmatch(header)
    if match is None:
        raise ValueError(f"an array described as {header[:60]!r}; goldens are numbers")
    dtype = np.dtype(match["dtype"].decode())
    shape = tuple(int(side) for side in match["shape"].split(b",") if side.strip())
    if math.prod(shape) * dtype.itemsize != size - len(start) - len(header):
        raise ValueError(f"an array of {shape} in {size} bytes")
    array = np.frombuffer(stream.read(size), dtype)
    return array.reshape(shape, order="F" if match["order"] == b"True" else "C")


def _unreadable(path: Path, error: Exception) -> BundleError:
    why = printable(str(error) or type(error).__name__)
    return BundleError(f"{path} cannot be read: {why}; copy or export the bundle again")
