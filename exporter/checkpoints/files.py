"""Find the files that hold the weights; check them and hash them. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from exporter.errors import CheckpointError

_IN_A_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def weight_files(path: Path) -> tuple[list[Path], set[str] | None]:
    """List the weight files of a path, and the tensor names of its index; None without an index.

    Raises:
        CheckpointError: a folder without weights, or with an index that is not one.
    """
    if not path.is_dir():
        return [path], None
    file = next((path / name for name in _IN_A_FOLDER if (path / name).is_file()), None)
    if file is None:
        raise CheckpointError(f"{path} is a folder without weights: {', '.join(_IN_A_FOLDER)}")
    if file.suffix != ".json":
        return [file], None
    try:
        shards = dict(json.loads(file.read_text("utf-8"))["weight_map"])
        files = [path / shard for shard in sorted(set(shards.values()))]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{file} is not a weight index") from error
    outside = [shard for shard in files if shard.parent != path or shard.name in ("", "..")]
    if outside or not files:
        raise CheckpointError(f"{file} names no shards, or shards outside its folder")
    return files, set(shards)


def file_size(file: Path) -> int:
    """Size of a weight file in bytes.

    Raises:
        CheckpointError: it is missing or empty.
    """
    try:
        size = file.stat().st_size if file.is_file() else -1
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    if size < 0:
        raise CheckpointError(f"{file} does not exist, or is not a file")
    if size == 0:
        raise CheckpointError(f"{file} is empty: download it again")
    return size


def digest(files: list[Path]) -> str:
    """Hash a file (sha256); several files: hash the lines `sha256sum` prints for them."""
    digests = []
    for file in files:
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{d}  {f.name}\n" for d, f in zip(digests, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()
