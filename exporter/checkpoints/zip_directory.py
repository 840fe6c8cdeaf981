"""Find the entries of a zip archive whose entries are stored as they are, as torch.save writes it.

The directory is read straight from the mapped file: each entry costs a step of the budget, nothing
is unpacked, and what is read is what was opened and hashed.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from dataclasses import dataclass

from exporter.checkpoints.budget import LONGEST_NAME, MOST_TENSORS, Budget
from exporter.errors import CheckpointError
from exporter.printable import printable

LOCAL = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENTRY = struct.Struct("<4s2xHHH4xIIIHHH8xI")
_END = struct.Struct("<4s6xHIIH")
_END_64_PLACE = struct.Struct("<4s4xQ4x")
_END_64 = struct.Struct("<4s20x8xQQQ")
_LONGEST_COMMENT = 0xFFFF
_NEWEST_VERSION = 63
_MOST_ENTRIES = MOST_TENSORS + 100
_STEPS = 20
"""What reading an entry takes, in steps of a pickle."""


@dataclass(frozen=True)
class Entry:
    """A file in the archive, as the directory has it."""

    name: str
    crc: int
    size: int
    header: int
    stored: bool


def entries(data: mmap.mmap, budget: Budget) -> dict[str, Entry]:
    """Read the directory.

    Raises:
        CheckpointError: it is missing, damaged, or claims what is not there.
    """
    end = _end(data)
    if end < 0:
        raise CheckpointError(
            f"truncated: its {len(data)} bytes have no zip directory at the end; download it again"
        )
    count, size, start = _directory(data, end)
    if start + size > end:
        raise _damaged("it reaches past its end")
    if count > _MOST_ENTRIES:
        raise CheckpointError(f"holds {count} entries; no checkpoint does")
    budget.operate(_STEPS * count)
    found: dict[str, Entry] = {}
    at = start
    for _ in range(count):
        entry, at = _entry(data, at, start + size)
        if entry.name in found:
            raise CheckpointError(f"holds two entries called {printable(entry.name)}")
        found[entry.name] = entry
    return found


def content(data: mmap.mmap, entry: Entry) -> memoryview:
    """Find an entry's bytes and check them against its CRC."""
    name = printable(entry.name)
    header = data[entry.header : entry.header + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size or header[:4] != LOCAL:
        raise CheckpointError(f"damaged: no entry {name} where its directory says")
    _signature, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    start = entry.header + _LOCAL_HEADER.size + name_size + extra_size
    if start + entry.size > len(data):
        raise CheckpointError(f"truncated: entry {name} reaches past the end")
    held = memoryview(data)[start : start + entry.size]
    if zlib.crc32(held) != entry.crc:
        raise CheckpointError(f"damaged: entry {name} fails its CRC")
    return held


def _end(data: mmap.mmap) -> int:
    """Find the record that ends every zip, complete; -1 if there is none."""
    last = len(data) - _END.size
    if last >= 0 and data[last : last + 4] == b"PK\x05\x06" and data[-2:] == b"\x00\x00":
        return last
    at = data.rfind(b"PK\x05\x06", max(last - _LONGEST_COMMENT, 0))
    if at < 0 or at > last:
        return -1
    comment = _END.unpack_from(data, at)[-1]
    return at if at + _END.size + int(comment) <= len(data) else -1


def _directory(data: mmap.mmap, end: int) -> tuple[int, int, int]:
    """Read the directory's number of entries, its bytes and its place."""
    _signature, count, size, start, _comment = _END.unpack_from(data, end)
    place = end - _END_64_PLACE.size
    if place >= 0 and data[place : place + 4] == b"PK\x06\x07":
        at = _END_64_PLACE.unpack_from(data, place)[1]
        if at + _END_64.size > place or data[at : at + 4] != b"PK\x06\x06":
            raise _damaged("its 64-bit end is not where it should be")
        _signature, count, size, start = _END_64.unpack_from(data, at)
    if count * _ENTRY.size > size:
        raise _damaged(f"it claims {count} entries in {size} bytes")
    return count, size, start


def _entry(data: mmap.mmap, at: int, end: int) -> tuple[Entry, int]:
    if at + _ENTRY.size > end:
        raise _damaged("it ends too early")
    signature, version, flags, method, crc, packed, size, names, extras, comment, header = (
        _ENTRY.unpack_from(data, at)
    )
    if signature != b"PK\x01\x02":
        raise _damaged("bad magic number of an entry")
    if version & 0xFF > _NEWEST_VERSION:
        number = f"{(version & 0xFF) // 10}.{version % 10}"
        raise CheckpointError(
            f"is a zip as torch.save writes none (zip file version {number}); save it again with "
            "torch.save"
        )
    at += _ENTRY.size
    if names > LONGEST_NAME or at + names + extras + comment > end:
        raise _damaged("an entry's name does not fit")
    name = _text(data[at : at + names], flags)
    size, packed, header = _wide(data[at + names : at + names + extras], size, packed, header)
    stored = method == 0 and packed == size and not flags & 1
    return Entry(name, crc, size, header, stored), at + names + extras + comment


def _text(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError as error:
        raise _damaged("an entry's name is no text") from error


def _wide(extra: bytes, *narrow: int) -> tuple[int, int, int]:
    """Read the 64-bit numbers of those whose 32 bits are all set, in the order of the format."""
    numbers, at = list(narrow), 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            fields = extra[at + 4 : at + 4 + size]
            for index, number in enumerate(numbers):
                if number == 0xFFFFFFFF and len(fields) >= 8:
                    numbers[index] = int.from_bytes(fields[:8], "little")
                    fields = fields[8:]
            break
        at += 4 + size
    size_, packed, header = numbers
    return size_, packed, header


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(
        f"damaged: its end is there, but its zip directory cannot be read ({why}); copy or "
        "download it again, and compare its sha256 with the publisher's"
    )
