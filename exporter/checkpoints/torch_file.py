"""Find the tensors in a file that `torch.save` wrote, without torch.

Two containers: a zip whose entries are stored uncompressed (since torch 1.6), and before that a row
of pickles followed by the storages. Nothing is allocated by a size that a file merely claims.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

from exporter.checkpoints.budget import Budget
from exporter.checkpoints.contents import ITEM_BYTES, Contents
from exporter.checkpoints.packed import refuse_zip
from exporter.checkpoints.pickle_values import storage_key
from exporter.checkpoints.pickled import read_pickle
from exporter.checkpoints.state_dict import storages_of, tensor_sets
from exporter.checkpoints.zip_directory import LOCAL, Entry, content, entries
from exporter.errors import CheckpointError
from exporter.printable import printable

_MAGIC = 0x1950A86A20F9469CFC6C


def read_torch_file(data: mmap.mmap) -> Contents:
    """Find every tensor of a zip or legacy file.

    Raises:
        CheckpointError: damaged, truncated, compressed, hostile, or without tensors.
    """
    budget = Budget(len(data))
    read = _read_zip if data[:4] == LOCAL else _read_legacy
    value, storages = read(data, budget)
    sets, skipped, texts = tensor_sets(value, budget)
    return Contents(sets, storages, skipped, texts)


def _read_zip(data: mmap.mmap, budget: Budget) -> tuple[Any, dict[str, memoryview]]:
    found = entries(data, budget)
    pickles = [name for name in found if name.rsplit("/", 1)[-1] == "data.pkl"]
    if any(name.rsplit("/", 1)[-1] == "constants.pkl" for name in found):
        raise CheckpointError("is a TorchScript archive, not a checkpoint; save its state dict")
    if not pickles:
        refuse_zip(found)
    _check_entries(found, len(data))
    if len(pickles) != 1:
        raise CheckpointError("is a zip archive, but torch.save did not write it")
    prefix = pickles[0].removesuffix("data.pkl")
    order = found.get(f"{prefix}byteorder")
    if order is not None and bytes(content(data, order)[:6]) != b"little":
        raise CheckpointError("was written on a big-endian machine, which is not supported")
    value, _end = read_pickle(bytes(content(data, found[pickles[0]])), 0, budget)
    storages = {
        name.removeprefix(f"{prefix}data/"): content(data, entry)
        for name, entry in found.items()
        if name.startswith(f"{prefix}data/")
    }
    return value, storages


def _check_entries(found: dict[str, Entry], size: int) -> None:
    if not all(entry.stored for entry in found.values()):
        raise CheckpointError(
            "has compressed entries, which torch.save never writes: not unpacked. If it is a zip "
            "around a checkpoint, unpack it and give the file inside"
        )
    # Entries that overlap claim more than there is, too.
    total = sum(entry.size for entry in found.values())
    if total > size:
        raise CheckpointError(f"claims {total} bytes in a file of {size}; not unpacked")


def _read_legacy(data: mmap.mmap, budget: Budget) -> tuple[Any, dict[str, memoryview]]:
    magic, at = read_pickle(data, 0, budget)
    if magic != _MAGIC:
        raise CheckpointError("is a pickle, but torch.save did not write it")
    _version, at = read_pickle(data, at, budget)
    system, at = read_pickle(data, at, budget)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("was written on a big-endian machine, which is not supported")
    value, at = read_pickle(data, at, budget)
    keys, at = read_pickle(data, at, budget)
    widths = {s.key: ITEM_BYTES.get(s.dtype) for s in storages_of(value)}
    storages: dict[str, memoryview] = {}
    for key in _keys(keys):
        width = widths.get(key)
        if width is None:
            raise CheckpointError(f"has storage {printable(key, 50)} of a kind no checkpoint needs")
        if key in storages:
            raise CheckpointError(f"damaged: storage {printable(key, 50)} is there twice")
        storages[key], at = _legacy_storage(data, at, width)
    return value, storages


def _keys(value: Any) -> list[str]:
    try:
        return [storage_key(key) for key in value] if isinstance(value, list) else []
    except ValueError as error:
        raise CheckpointError(f"damaged: it names {error}") from error


def _legacy_storage(data: mmap.mmap, at: int, width: int) -> tuple[memoryview, int]:
    head = data[at : at + 8]
    numel = struct.unpack("<q", head)[0] if len(head) == 8 else 0
    start = at + 8
    expected = start + numel * width
    if len(head) < 8 or numel < 0 or expected > len(data):
        raise CheckpointError(
            f"truncated: expected at least {expected} bytes, {len(data)} are there"
        )
    return memoryview(data)[start:expected], expected
