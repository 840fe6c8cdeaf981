"""Find the files that hold the weights, and open each of them once. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.checkpoints.bounded_json import parse_bounded
from exporter.checkpoints.budget import LONGEST_NAME
from exporter.checkpoints.folders import without_weights
from exporter.closest import missing
from exporter.errors import CheckpointError
from exporter.printable import printable

_IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.{1,200}-)\d{1,6}-of-(?P<count>\d{1,6})(?P<ending>\.\w{1,20})")
_LARGEST_INDEX = 20_000_000
_MOST_SHARDS = 200
_HASHED_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class OpenFile:
    """A file that is open and mapped: what is hashed is what is read.

    Attributes:
        path: the name it was opened by, once.
        data: a private map; writing to it does not change the file.
        descriptor: of the open file.
        stamp: its size and time as it was opened.
    """

    path: Path
    data: mmap.mmap
    descriptor: int
    stamp: tuple[int, int]

    def sha256(self) -> str:
        """Hash the mapped bytes. CheckpointError if the file was written to since it was opened."""
        digest = hashlib.sha256()
        with memoryview(self.data) as view:
            for start in range(0, len(view), _HASHED_AT_ONCE):
                digest.update(view[start : start + _HASHED_AT_ONCE])
        if _stamp(os.fstat(self.descriptor)) != self.stamp:
            raise CheckpointError(f"{self.path} was changed while it was read")
        return digest.hexdigest()


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[OpenFile]:
    """Open and map a file; the map outlives the block for as long as something is a view of it.

    Raises:
        CheckpointError: it is missing, empty, no file (a device, a pipe), or cannot be read.
    """
    # A pipe would wait for its writer, and a device may do anything when it is opened.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0)) if path.is_file() else -1
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is impossible"
        raise CheckpointError(f"{printable(str(path))} cannot be read: {why}") from error
    if descriptor < 0:
        said = missing(path)
        absent = "does not exist, or is not a file" if said == "missing" else f"is {said}"
        raise CheckpointError(f"{printable(str(path))} {absent}")
    try:
        yield _mapped(path, descriptor)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _mapped(path: Path, descriptor: int) -> OpenFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} does not exist, or is not a file")
    if status.st_size == 0:
        raise CheckpointError(f"{path} is empty: download it again")
    data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    return OpenFile(path, data, descriptor, _stamp(status))


def _stamp(status: os.stat_result) -> tuple[int, int]:
    # Not the time of its status: that changes if another file takes its name.
    return status.st_size, status.st_mtime_ns


def weight_files(path: Path) -> tuple[list[Path], set[str] | None]:
    """List the weight files of a path, and the tensor names of its index; None without an index.

    Raises:
        CheckpointError: a folder without weights, or with an index that is not one.
    """
    if path.name.endswith(_INDEX) and path.is_file():
        return _shards_of(path)
    if not path.is_dir():
        return _with_siblings(path), None
    file = next((path / name for name in _IN_A_FOLDER if (path / name).is_file()), None)
    if file is None:
        raise without_weights(path, _IN_A_FOLDER)
    if file.suffix != ".json":
        return [file], None
    return _shards_of(file)


def _shards_of(index: Path) -> tuple[list[Path], set[str]]:
    """List the shards that an index names, beside it, and the tensors that it names."""
    weights = _weight_map(index)
    shards = sorted(set(weights.values()))
    if not shards or not all(map(_inside, shards)):
        raise CheckpointError(f"{index} names no shards, or shards outside its folder")
    if len(shards) > _MOST_SHARDS:
        raise CheckpointError(f"{index} names {len(shards)} shards; no checkpoint has so many")
    absent = [shard for shard in shards if not _exists(index.parent / shard)]
    if len(absent) == len(shards):
        raise CheckpointError(
            f"{index} is an index without its shards, which hold the weights: "
            f"{printable(shards[0], 100)} does not exist beside it, nor does another; download them"
        )
    return [index.parent / shard for shard in shards], set(weights)


def _exists(path: Path) -> bool:
    """Tell whether there is anything; whoever opens it says what is wrong with its name."""
    try:
        return path.exists()
    except OSError:
        return True


def _with_siblings(path: Path) -> list[Path]:
    """List the shards of a set of which the path is one: `model-00001-of-00003.safetensors`."""
    found = _SHARD.fullmatch(path.name)
    count = int(found["count"]) if found else 1
    if found is None or count == 1:
        return [path]
    if count > _MOST_SHARDS:
        raise CheckpointError(f"{path} is one of {count} shards; no checkpoint has so many")
    digits = len(found["count"])
    names = [
        f"{found['stem']}{number:0{digits}}-of-{found['count']}{found['ending']}"
        for number in range(1, count + 1)
    ]
    absent = [name for name in names if not _exists(path.parent / name)]
    if absent and _exists(path):
        lacking = printable(absent[0], 100)
        raise CheckpointError(
            f"{path} is one of {count} shards: put the others beside it ({lacking} is missing)"
        )
    return [path.parent / name for name in names]


def _weight_map(file: Path) -> dict[str, str]:
    """Read the index: tensor -> shard."""
    try:
        with open_file(file) as opened:
            if len(opened.data) > _LARGEST_INDEX:
                raise ValueError("it is too large")
            weights = parse_bounded(opened.data[:])["weight_map"]
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{file} is not a weight index") from error
    except CheckpointError as error:
        known = str(error).startswith(str(file))
        raise error if known else CheckpointError(f"{file} {error}") from error
    shards = weights.values() if isinstance(weights, dict) else [None]
    if not all(isinstance(shard, str) for shard in shards):
        raise CheckpointError(f"{file} is not a weight index")
    return dict(weights)


def _inside(shard: str) -> bool:
    """Tell whether a shard's name is that of a file in the folder; it may be a link."""
    plain = shard.isprintable() and 0 < len(shard) <= LONGEST_NAME
    return plain and not {"/", "\\", "\0"} & set(shard) and shard not in (".", "..")


def combined_digest(digests: Sequence[tuple[str, str]]) -> str:
    """Hash several files: the hash of the lines `sha256sum` prints for them; one file: its own.

    Args:
        digests: name and sha256 of each.
    """
    if len(digests) == 1:
        return digests[0][1]
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()
