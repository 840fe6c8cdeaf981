"""Find the tensors in a file that `torch.save` wrote, without torch.

Two containers: a zip whose entries are stored uncompressed (since torch 1.6), and before that a row
of pickles followed by the storages. Nothing is allocated by a size that a file merely claims.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoints.pickle_values import Record, Storage, StoredTensor
from exporter.checkpoints.pickled import read_pickle
from exporter.errors import CheckpointError

ITEM_BYTES = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float64": 8,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
    "bytes": 1,
}

_MAGIC = 0x1950A86A20F9469CFC6C
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END, _END_SIGNATURE, _LONGEST_COMMENT = struct.Struct("<20xH"), b"PK\x05\x06", 0xFFFF
_CONTAINERS = ("model", "state_dict", "model_state", "model_state_dict")
_MOST_NODES = 100_000
_MOST_LEVELS = 64
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Span:
    """A range of bytes in the file."""

    start: int
    size: int


@dataclass(frozen=True)
class TorchFile:
    """A mapped file, its tensors by name, and the bytes of each storage by key."""

    data: mmap.mmap
    tensors: dict[str, StoredTensor]
    storages: dict[str, Span]


def read_torch_file(path: Path) -> TorchFile:
    """Find every tensor of a zip or legacy file.

    Raises:
        CheckpointError: damaged, truncated, compressed, hostile, or without tensors.
    """
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if data[:4] == b"PK\x03\x04":
        value, spans = _read_zip(path, data)
    else:
        value, spans = _read_legacy(data)
    tensors = flatten(value)
    for name, tensor in tensors.items():
        _check(name, tensor, spans)
    return TorchFile(data, tensors, spans)


def flatten(value: Any) -> dict[str, StoredTensor]:
    """Collect the tensors of a state dict or a pickled module, by their `state_dict` names."""
    held = value
    if isinstance(held, dict) and isinstance(held.get("ema"), Record):
        held = held["ema"]  # ultralytics: the averaged module; their loader prefers it too
    elif isinstance(held, dict):
        held = next((held[c] for c in _CONTAINERS if isinstance(held.get(c), dict | Record)), held)
    if isinstance(held, Record) and "_modules" in held.state:
        tensors = dict(_module_tensors(held))
    else:
        items = held.state if isinstance(held, Record) else held
        tensors = _state_dict(items) if isinstance(items, dict) else {}
    if not tensors:
        raise CheckpointError("holds no tensors under names; a state dict is expected")
    return tensors


def _state_dict(items: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    found = _tensors_of(items)
    if found:
        return found
    # Several state dicts in one file, under the names of their modules.
    inner = {key: held for key, held in items.items() if isinstance(held, dict)}
    return {
        f"{key}.{name}": tensor
        for key, held in inner.items()
        if isinstance(key, str)
        for name, tensor in _tensors_of(held).items()
    }


def _tensors_of(items: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    return {
        name: tensor
        for name, tensor in items.items()
        if isinstance(name, str) and isinstance(tensor, StoredTensor)
    }


def _module_tensors(root: Record) -> Iterator[tuple[str, StoredTensor]]:
    waiting, seen = [("", root, 0)], 0
    while waiting:
        prefix, module, level = waiting.pop()
        seen += 1
        if seen > _MOST_NODES or level > _MOST_LEVELS or len(prefix) > _LONGEST_NAME:
            raise CheckpointError("nests modules without end")
        for name, tensor in _own_tensors(module):
            yield prefix + name, tensor
        wrapper = module.kind.endswith("DataParallel")
        for name, child in reversed(_dict_of(module, "_modules").items()):
            if isinstance(child, Record):
                # A wrapper adds `module.` inside names; the wrapped module has the real ones.
                inside = prefix if wrapper and name == "module" else f"{prefix}{name}."
                waiting.append((inside, child, level + 1))


def _own_tensors(module: Record) -> Iterator[tuple[str, StoredTensor]]:
    skipped = module.state.get("_non_persistent_buffers_set")
    skipped = skipped if isinstance(skipped, set) else set()
    for place in ("_parameters", "_buffers"):
        for name, tensor in _dict_of(module, place).items():
            if isinstance(name, str) and isinstance(tensor, StoredTensor) and name not in skipped:
                yield name, tensor


def _dict_of(module: Record, place: str) -> dict[Any, Any]:
    held = module.state.get(place)
    return held if isinstance(held, dict) else {}


def _check(name: str, tensor: StoredTensor, spans: Mapping[str, Span]) -> None:
    """Refuse a view that reaches outside its storage, or repeats it to look larger."""
    storage = tensor.storage
    width = ITEM_BYTES.get(storage.dtype)
    if width is None or tensor.dtype != storage.dtype:
        return  # refused by dtype, with the name, when tensors are made
    if storage.key not in spans:
        raise CheckpointError(f"damaged: the storage of tensor {name} is missing")
    if (storage.start + storage.numel) * width > spans[storage.key].size:
        raise CheckpointError(f"truncated or damaged: tensor {name} needs more bytes than it has")
    numel, last = 1, tensor.offset
    for side, stride in zip(tensor.shape, tensor.strides, strict=True):
        numel *= side
        last += max(side - 1, 0) * stride
    if numel and (numel > storage.numel or last >= storage.numel):
        raise CheckpointError(
            f"tensor {name} {tensor.shape} is larger than its storage of {storage.numel} elements"
        )


def _read_zip(path: Path, data: mmap.mmap) -> tuple[Any, dict[str, Span]]:
    entries = _entries(path, data)
    pickles = [name for name in entries if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError("is a zip archive, but torch.save did not write it")
    prefix = pickles[0].removesuffix("data.pkl")
    order = entries.get(f"{prefix}byteorder")
    if order is not None and _bytes(data, order) != b"little":
        raise CheckpointError("was written on a big-endian machine, which is not supported")
    spans = {
        name.removeprefix(f"{prefix}data/"): _span(data, entry)
        for name, entry in entries.items()
        if name.startswith(f"{prefix}data/")
    }
    return read_pickle(io.BytesIO(_bytes(data, entries[pickles[0]]))), spans


def _entries(path: Path, data: mmap.mmap) -> dict[str, zipfile.ZipInfo]:
    size = len(data)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise CheckpointError(_why_not_opened(data, error)) from error
    if any(entry.filename.rsplit("/", 1)[-1] == "constants.pkl" for entry in entries):
        raise CheckpointError("is a TorchScript archive, not a checkpoint; save its state dict")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            "has compressed entries, which torch.save never writes: not unpacked. If it is a zip "
            "around a checkpoint, unpack it and give the file inside"
        )
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise CheckpointError(f"claims {total} bytes in a file of {size}; not unpacked")
    return {entry.filename: entry for entry in entries}


def _why_not_opened(data: mmap.mmap, error: Exception) -> str:
    """Explain why Python cannot open a zip, and what to do."""
    if not _has_end(data):
        size = len(data)
        return f"truncated: its {size} bytes have no zip directory at the end; download it again"
    if isinstance(error, NotImplementedError):
        return f"is a zip as torch.save writes none ({error}); save it again with torch.save"
    return (
        f"damaged: its end is there, but its zip directory cannot be read ({error}); copy or "
        "download it again, and compare its sha256 with the publisher's"
    )


def _has_end(data: mmap.mmap) -> bool:
    """Whether the record that ends every zip is there, complete."""
    at = data.rfind(_END_SIGNATURE, max(len(data) - _END.size - _LONGEST_COMMENT, 0))
    if at < 0 or at + _END.size > len(data):
        return False
    (comment,) = _END.unpack_from(data, at)
    return at + _END.size + int(comment) <= len(data)


def _span(data: mmap.mmap, entry: zipfile.ZipInfo) -> Span:
    """Find an entry's bytes and check them against its CRC."""
    header = data[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
    if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
        raise CheckpointError(f"damaged: no entry {entry.filename} where its directory says")
    _signature, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    start = entry.header_offset + _LOCAL_HEADER.size + name_size + extra_size
    if start + entry.file_size > len(data):
        raise CheckpointError(f"truncated: entry {entry.filename} reaches past the end")
    with memoryview(data) as view, view[start : start + entry.file_size] as content:
        if zlib.crc32(content) != entry.CRC:
            raise CheckpointError(f"damaged: entry {entry.filename} fails its CRC")
    return Span(start, entry.file_size)


def _bytes(data: mmap.mmap, entry: zipfile.ZipInfo) -> bytes:
    span = _span(data, entry)
    return data[span.start : span.start + span.size]


def _read_legacy(data: mmap.mmap) -> tuple[Any, dict[str, Span]]:
    if read_pickle(data) != _MAGIC:
        raise CheckpointError("is a pickle, but torch.save did not write it")
    read_pickle(data)  # the protocol's version
    system = read_pickle(data)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("was written on a big-endian machine, which is not supported")
    value, keys = read_pickle(data), read_pickle(data)
    widths = {s.key: ITEM_BYTES.get(s.dtype) for s in _storages(value)}
    spans: dict[str, Span] = {}
    for key in keys if isinstance(keys, list) else ():
        width = widths.get(str(key))
        if width is None:
            raise CheckpointError(f"has storage {key!s:.50} of a kind no checkpoint needs")
        spans[str(key)] = _legacy_span(data, width)
    return value, spans


def _legacy_span(data: mmap.mmap, width: int) -> Span:
    head = data.read(8)
    numel = struct.unpack("<q", head)[0] if len(head) == 8 else 0
    start = data.tell()
    expected = start + numel * width
    if len(head) < 8 or numel < 0 or expected > len(data):
        raise CheckpointError(
            f"truncated: expected at least {expected} bytes, {len(data)} are there"
        )
    data.seek(expected)
    return Span(start, numel * width)


def _storages(value: Any) -> Iterator[Storage]:
    """List every storage that a described value mentions; each object is visited once."""
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, str | int | float | bytes | None) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, StoredTensor):
            yield item.storage
        elif isinstance(item, Storage):
            yield item
        elif isinstance(item, Record):
            waiting.append(item.state)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
