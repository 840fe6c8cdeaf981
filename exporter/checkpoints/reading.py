"""Read untrusted checkpoint files into tensors under their published names; a reader a format.

Nothing in a file is executed: each reader describes a file's contents within a budget, and the
tensors are views of the mapped file. A mapped file must not be changed while it is in use. torch is
imported for a file whose description is sound, so another is refused at once.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.bundle.manifest import Taken
from exporter.checkpoints.contents import MOST_BYTES, Contents, check
from exporter.checkpoints.files import OpenFile, combined_digest, open_file, weight_files
from exporter.checkpoints.onnx_file import read_onnx_file
from exporter.checkpoints.packed import refuse_packed
from exporter.checkpoints.safetensors_file import read_safetensors
from exporter.checkpoints.torch_file import read_torch_file
from exporter.checkpoints.values import NotFinite, Sets, make_sets
from exporter.errors import CheckpointError
from exporter.printable import LINE, printable

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint under their published names.

    Attributes:
        path: the file or folder it was read from.
        sha256: of the file; of several shards, of the lines `sha256sum` prints for them.
        tensors: float32, or whole numbers where published so.
        sets: every set of tensors in the file by its place there; empty if there is one, at the
            top.
        remarks: what was done to the tensors, or left out, each in some words.
        constants: `pixel_mean` and `pixel_std`, if the file has them as tensors.
        taken: what was done to the tensors, for the manifest.
        texts: that lie beside the tensors, as a trainer's settings; some of them.
        changes: how the network differs from the published one, each in some words.
        adapter: name of the file of an adapter that is folded in; empty for none.
        adapter_sha256: of that file.
        container: what kind of file it is, in some words.
        bytes: of the files together.
        dtypes: as stored, of every set -> number of tensors.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]
    sets: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    taken: Taken = field(default_factory=Taken)
    texts: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    adapter: str = ""
    adapter_sha256: str = ""
    container: str = ""
    bytes: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)


def read_checkpoint(path: Path, sha256: str = "") -> Checkpoint:
    """Read a torch, safetensors or ONNX file, or a Hugging Face folder.

    Each file is opened once; what is hashed is what was read.

    Args:
        path: the file or folder.
        sha256: first digits that its hash must have; empty for any.

    Raises:
        CheckpointError: it is missing, damaged, hostile, too large, another file than expected, or
            holds values no SAM has.
    """
    files, expected = weight_files(path)
    tensors: dict[str, Tensor] = {}
    sets: dict[str, dict[str, Tensor]] = {}
    remarks: dict[str, None] = {}
    digests, size, kind = [], 0, ""
    dtypes: Counter[str] = Counter()
    rounded: set[str] = set()
    texts: list[str] = []
    for file in files:
        with open_file(file) as opened:
            size += len(opened.data)
            if size > MOST_BYTES:
                raise CheckpointError(f"{path} is over {size} bytes; at most {MOST_BYTES} are read")
            contents, made = _add(tensors, opened)
            remarks |= dict.fromkeys(_remarks(contents, next(iter(made))))
            rounded |= _kinds(contents, next(iter(made))) & {"float64"}
            texts += contents.texts
            kind, dtypes = _kind(opened.data), dtypes + _dtypes(contents)
            if len(files) == 1 and (len(made) > 1 or next(iter(made))):
                sets = made
            digests.append((file.name, opened.sha256()))
    if expected is not None and expected != tensors.keys():
        odd = printable(", ".join(sorted(expected ^ tensors.keys())[:3]))
        raise CheckpointError(f"{path} has an index that differs from its shards ({odd})")
    digest = combined_digest(digests)
    if not digest.startswith(sha256):
        raise CheckpointError(f"{path} has sha256 {digest} now, not {sha256}: it was changed")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return Checkpoint(
        path,
        digest,
        tensors,
        sets,
        tuple(remarks),
        taken=Taken(rounded=tuple(sorted(rounded))),
        texts=tuple(texts),
        container=kind if len(files) == 1 else f"{len(files)} shards, each a {kind}",
        bytes=size,
        dtypes=dict(sorted(dtypes.items())),
    )


def _kind(data: mmap.mmap) -> str:
    """Name the reader that `_describe` chooses."""
    if data[8:9] == b"{":
        return "safetensors file"
    if data[:1] == b"\x08":
        return "ONNX file"
    return "torch file (zip)" if data[:2] == b"PK" else "torch file (before torch 1.6)"


def _dtypes(contents: Contents) -> Counter[str]:
    """Count the dtypes of every tensor once; one set may be a part of another."""
    every = {id(each): each.dtype for held in contents.sets.values() for each in held.values()}
    return Counter(every.values())


def _kinds(contents: Contents, place: str) -> set[str]:
    """List the dtypes of a set, as stored."""
    return {spec.dtype for spec in contents.sets[place].values()}


def _remarks(contents: Contents, first: str) -> Iterator[str]:
    if "float64" in _kinds(contents, first):
        yield "its float64 values are rounded to float32"
    if contents.skipped:
        yield f"skipped unread: {', '.join(contents.skipped)}"


def _add(tensors: dict[str, Tensor], opened: OpenFile) -> tuple[Contents, Sets]:
    """Add an open file's first set of tensors to those of the shards before it."""
    try:
        contents = _describe(opened.data)
        check(contents, len(opened.data))
        made = make_sets(contents)
        first = next(iter(made.values()))
        if twice := sorted(first.keys() & tensors.keys()):
            raise CheckpointError(f"repeats tensor {twice[0]} of another shard")
        tensors.update(first)
        return contents, made
    except CheckpointError as error:
        kind = NotFinite if isinstance(error, NotFinite) else CheckpointError
        raise kind(f"{opened.path} {printable(str(error), LINE)}") from error


def _describe(data: mmap.mmap) -> Contents:
    """Choose a reader by the first bytes."""
    head = data[:64]
    if head[8:9] == b"{":
        return read_safetensors(data)
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return read_torch_file(data)
    if head[:1] == b"\x08":  # the first field of an ONNX model
        return read_onnx_file(data)
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError("is a Git LFS pointer, not the file: run `git lfs pull`")
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise CheckpointError("is a web page, not a checkpoint: download the file itself")
    refuse_packed(data)
    raise CheckpointError(
        "is neither a torch nor a safetensors nor an ONNX file; nothing was executed"
    )
