"""What every reader returns: descriptions of tensors, and the bytes they are views of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from exporter.checkpoints.budget import LONGEST_NAME, MOST_SIDE
from exporter.errors import CheckpointError
from exporter.printable import printable

MOST_BYTES = 8 * 10**9
"""More than three times the largest published checkpoint."""

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


@dataclass(frozen=True)
class Storage:
    """A run of `numel` elements, `start` elements into the bytes stored under `key`."""

    key: str
    dtype: str
    numel: int
    start: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What a file describes.

    Attributes:
        sets: its sets of tensors by name, each under its place in the file: `state_dict`; the one
            that a loader would take comes first, and one at the top is called "".
        storages: the bytes of each storage, by key.
        skipped: what else is there and was not read, as `took (datetime.timedelta)`.
        texts: that lie beside the tensors; some of them.
    """

    sets: Mapping[str, Mapping[str, StoredTensor]]
    storages: Mapping[str, memoryview]
    skipped: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """The first set."""
        return next(iter(self.sets.values()))


def contiguous(key: str, dtype: str, shape: tuple[int, ...]) -> StoredTensor:
    """Describe a tensor that fills a storage of its own, row by row."""
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= max(side, 1)
    return StoredTensor(
        Storage(key, dtype, math.prod(shape)), dtype, 0, shape, tuple(reversed(strides))
    )


def check(contents: Contents, size: int) -> None:
    """Refuse names that are none, and tensors that are larger than their bytes.

    Args:
        contents: of a file.
        size: of the file, in bytes.

    Raises:
        CheckpointError: for the first fault; it names the tensor.
    """
    total, seen = 0, set[int]()
    for tensors in contents.sets.values():
        for name, tensor in tensors.items():
            check_name(name)
            if len(contents.sets) > 1 and id(tensor) in seen:  # one set is a part of another
                continue
            seen.add(id(tensor))
            _check_view(name, tensor, contents.storages)
            total += max(ITEM_BYTES.get(tensor.dtype, 4), 4) * math.prod(tensor.shape)
    # Names may share bytes, but only as tied weights do.
    if total > min(MOST_BYTES, 8 * size):
        raise CheckpointError(f"describes {total} bytes of tensors in {size} bytes; not read")


def check_name(name: str) -> str:
    """Return a tensor's name. CheckpointError if it cannot be one."""
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise CheckpointError(f"has a tensor with an impossible name ({printable(name, 40)})")
    return name


def _check_view(name: str, tensor: StoredTensor, storages: Mapping[str, memoryview]) -> None:
    """Refuse a view that reaches outside its storage, or repeats it to look larger."""
    storage = tensor.storage
    width = ITEM_BYTES.get(storage.dtype)
    if width is None or tensor.dtype != storage.dtype:
        return  # refused by dtype, with the name, when tensors are made
    if storage.key not in storages:
        raise CheckpointError(f"damaged: the storage of tensor {name} is missing")
    if (storage.start + storage.numel) * width > storages[storage.key].nbytes:
        raise CheckpointError(f"truncated or damaged: tensor {name} needs more bytes than it has")
    if math.prod(max(side, 1) for side in tensor.shape) > MOST_SIDE:
        raise CheckpointError(f"tensor {name} has impossible sides {tensor.shape}")
    last = tensor.offset
    for side, stride in zip(tensor.shape, tensor.strides, strict=True):
        last += max(side - 1, 0) * stride
    numel = math.prod(tensor.shape)
    if numel and (numel > storage.numel or last >= storage.numel):
        raise CheckpointError(
            f"tensor {name} {tensor.shape} is larger than its storage of {storage.numel} elements"
        )
