"""Name what a checkpoint is packed in, or what else a file is, with the command that mends it."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterable

from exporter.errors import CheckpointError
from exporter.printable import printable

_PACKED = (
    (b"BZh", "packed with bzip2", "`tar -xjf` or `bunzip2`"),
    (b"\xfd7zXZ\x00", "packed with xz", "`tar -xJf` or `unxz`"),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard", "`unzstd`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x`"),
    (b"Rar!\x1a\x07", "a RAR archive", "`unrar x`"),
)
"""First bytes, what they are of, and what unpacks it."""
_OTHERS = (
    (4, b"TFL3", "a model for TFLite"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x89HDF\r\n", "an HDF5 file, as Keras writes"),
    (0, b"\x93NUMPY", "a numpy array"),
)
"""Place, bytes there, and what they are of."""
_HEAD, _BLOCK = 8192, 512
_ABOUT = (b"x", b"g", b"L", b"K")
"""Kinds of tar headers that are about the next member."""
_ENDINGS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx", ".tar", ".zip", ".gz")


def refuse_packed(data: mmap.mmap) -> None:
    """CheckpointError if a checkpoint is packed in the file, or it is of a kind that is known."""
    if data[:2] == b"\x1f\x8b":
        inside = _gzip_head(data)
        if inside[257:262] == b"ustar":
            raise _packed("a .tar.gz", _member(inside), "`tar -xzf`")
        raise _packed("packed with gzip", "", "`gunzip`")
    if data[257:262] == b"ustar":
        raise _packed("a tar archive", _member(data[:_HEAD]), "`tar -xf`")
    for magic, kind, command in _PACKED:
        if data[: len(magic)] == magic:
            raise _packed(kind, "", command)
    for at, magic, kind in _OTHERS:
        if data[at : at + len(magic)] == magic:
            raise CheckpointError(f"is {kind}, and no checkpoint: give the file that was trained")


def refuse_zip(names: Iterable[str]) -> None:
    """CheckpointError for a zip archive that torch.save did not write, by the names in it."""
    held = [name for name in names if name.lower().endswith(_ENDINGS)]
    if any(name.endswith(".npy") for name in names):
        raise CheckpointError("holds numpy arrays (.npz): no checkpoint; give the one trained")
    if any(name.endswith("/archive_format") for name in names):
        raise CheckpointError("is a program of torch.export: no checkpoint; save its state dict")
    if not held:
        raise CheckpointError("is a zip archive, but torch.save did not write it")
    raise _packed("a zip archive", held[0], "`unzip`")


def _gzip_head(data: mmap.mmap) -> bytes:
    """Unpack the first bytes, and no more."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:65_536], _HEAD)
    except zlib.error:
        return b""


def _member(head: bytes) -> str:
    """Read the first name of a tar archive; empty if it is not in its first bytes."""
    at = 0
    while len(header := head[at : at + _BLOCK]) == _BLOCK:
        if header[156:157] not in _ABOUT:
            return header[:100].split(b"\0")[0].decode("utf-8", "replace")
        size = header[124:136].strip(b" \0")  # of what is about the next member, as its time
        if not size or set(size) - set(b"01234567"):
            break
        at += _BLOCK * (2 + int(size, 8) // _BLOCK)
    return ""


def _packed(kind: str, member: str, command: str) -> CheckpointError:
    inside = f" around {printable(member, 80)}" if member else ""
    return CheckpointError(
        f"is {kind}{inside}: unpack it and give the checkpoint inside ({command})"
    )
