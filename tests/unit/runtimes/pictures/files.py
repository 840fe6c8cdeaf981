"""Picture files that no library here writes, written by their bytes."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: (H, W, 1 to 4) are grey, grey and alpha, RGB, RGBA."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IEND", b"")


def tiff(values: np.ndarray, **tags: int) -> bytes:
    """A TIFF of one strip with all channels side by side; `tags` are named t262=1 and so on."""
    height, width, channels = values.shape
    bits, data = values.dtype.itemsize * 8, values.astype(values.dtype.newbyteorder("<")).tobytes()
    form = {"u": 1, "i": 2, "f": 3, "c": 6}[values.dtype.kind]
    entries = {256: [width], 257: [height], 258: [bits] * channels, 259: [1]}
    entries |= {262: [2 if channels > 1 else 1], 273: [8], 277: [channels], 278: [height]}
    entries |= {279: [len(data)], 284: [1], 339: [form] * channels}
    entries |= {int(name[1:]): [value] for name, value in tags.items()}
    beyond, directory = b"", b""
    for tag, numbers in sorted(entries.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(packed) > 4:
            where = struct.pack("<I", 8 + len(data) + len(beyond))
            beyond += packed
            packed = where
        directory += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    head = b"II*\0" + struct.pack("<I", 8 + len(data) + len(beyond))
    return head + data + beyond + struct.pack("<H", len(entries)) + directory + bytes(4)


def iso_media(brand: bytes, *others: bytes) -> bytes:
    box = b"ftyp" + brand + bytes(4) + b"".join(others)
    return struct.pack(">I", len(box) + 4) + box + bytes(500)


def dds(pixel_format: bytes, width: int = 4, height: int = 4) -> bytes:
    header = struct.pack("<7I", 124, 0x1007, height, width, 0, 0, 0)
    return b"DDS " + header + bytes(44) + pixel_format + bytes(64)
