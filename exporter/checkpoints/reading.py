"""Read untrusted checkpoint files into tensors under their published names; a reader a format.

Nothing in a file is executed: `torch_file` describes a torch file's contents, and the tensors are
views of the mapped file. A mapped file must not be changed while it is in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from exporter.checkpoints.files import digest, file_size, weight_files
from exporter.checkpoints.onnx_file import read_onnx_file
from exporter.checkpoints.pickle_values import StoredTensor
from exporter.checkpoints.safetensors_file import read_safetensors
from exporter.checkpoints.torch_file import ITEM_BYTES, TorchFile, read_torch_file
from exporter.errors import CheckpointError

MOST_BYTES = 8 * 10**9
"""More than three times the largest published checkpoint."""
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
}
_LONGEST_NAME = 1000


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a checkpoint under their published names.

    Attributes:
        path: the file or folder it was read from.
        sha256: of the file; of several shards, of the lines `sha256sum` prints for them.
        tensors: float32, or whole numbers where published so.
    """

    path: Path
    sha256: str
    tensors: dict[str, Tensor]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a torch, safetensors or ONNX file, or a Hugging Face folder.

    Raises:
        CheckpointError: it is missing, damaged, hostile, too large, or holds values no SAM has.
    """
    files, expected = weight_files(path)
    sizes = [file_size(file) for file in files]
    if sum(sizes) > MOST_BYTES:
        raise CheckpointError(f"{path} is {sum(sizes)} bytes; at most {MOST_BYTES} are read")
    tensors: dict[str, Tensor] = {}
    for file, size in zip(files, sizes, strict=True):
        try:
            read = _read(file, size)
            if twice := sorted(read.keys() & tensors.keys()):
                raise CheckpointError(f"repeats tensor {twice[0]} of another shard")
            tensors |= read
        except CheckpointError as error:
            raise CheckpointError(f"{file} {_printable(str(error))}") from error
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror}") from error
    if expected is not None and expected != set(tensors):
        odd = _printable(", ".join(sorted(expected ^ set(tensors))[:3]))
        raise CheckpointError(f"{path} has an index that differs from its shards ({odd})")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return Checkpoint(path, digest(files), tensors)


def _read(file: Path, size: int) -> dict[str, Tensor]:
    with file.open("rb") as stream:
        head = stream.read(64)
    if head[8:9] == b"{":
        found = read_safetensors(file, size)
        _guard((tuple(tensor.shape) for tensor in found.values()), size)
        tensors: Iterable[tuple[str, Tensor]] = found.items()
    elif head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        stored = read_torch_file(file)
        _guard((spec.shape for spec in stored.tensors.values()), size)
        tensors = _views(stored)
    elif head[:1] == b"\x08":  # the first field of an ONNX model
        arrays = read_onnx_file(file)
        _guard((array.shape for array in arrays.values()), size)
        tensors = ((name, torch.from_numpy(array.copy())) for name, array in arrays.items())
    elif head.startswith(b"version https://git-lfs"):
        raise CheckpointError("is a Git LFS pointer, not the file: run `git lfs pull`")
    elif head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        raise CheckpointError("is a web page, not a checkpoint: download the file itself")
    else:
        raise CheckpointError(
            "is neither a torch nor a safetensors nor an ONNX file; nothing was executed"
        )
    return {_check_name(name): _usable(name, tensor) for name, tensor in tensors}


def _check_name(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise CheckpointError(f"has a tensor with an impossible name ({name:.40})")
    return name


def _printable(text: str) -> str:
    """Make text from a file safe for a terminal: one line without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _guard(shapes: Iterable[tuple[int, ...]], size: int) -> None:
    """Refuse a small file of huge tensors; they may share bytes, but only as tied weights do."""
    total = 4 * sum(math.prod(shape) for shape in shapes)
    if total > min(MOST_BYTES, 8 * size):
        raise CheckpointError(f"describes {total} bytes of tensors in {size} bytes; not read")


def _views(stored: TorchFile) -> Iterator[tuple[str, Tensor]]:
    """Make tensors on the mapped file; a misaligned storage is copied once."""
    whole: dict[str, Tensor] = {}
    for name, spec in stored.tensors.items():
        key = spec.storage.key
        if spec.dtype not in _DTYPES or spec.dtype != spec.storage.dtype:
            raise _wrong_dtype(name, spec.dtype)
        if key not in whole:
            whole[key] = _storage_bytes(stored, key)
        yield name, _view(whole[key], spec)


def _storage_bytes(stored: TorchFile, key: str) -> Tensor:
    span = stored.storages[key]
    if span.size == 0:
        return torch.empty(0, dtype=torch.uint8)
    mapped = torch.frombuffer(stored.data, dtype=torch.uint8, count=span.size, offset=span.start)
    return mapped if span.start % 8 == 0 else mapped.clone()


def _view(whole: Tensor, spec: StoredTensor) -> Tensor:
    width, storage = ITEM_BYTES[spec.dtype], spec.storage
    run = whole[storage.start * width : (storage.start + storage.numel) * width]
    flat = run.view(_DTYPES[spec.dtype])
    if math.prod(spec.shape) == 0:
        return flat.new_empty(spec.shape)
    return flat[spec.offset :].as_strided(spec.shape, spec.strides)


def _wrong_dtype(name: str, dtype: str) -> CheckpointError:
    return CheckpointError(
        f"tensor {name} is {dtype}; weights are float32, float16 or bfloat16, counters int64 or "
        "int32"
    )


def _usable(name: str, tensor: Tensor) -> Tensor:
    """Make a tensor contiguous and float32, or leave its whole numbers; refuse NaN and infinity."""
    if tensor.dtype not in _DTYPES.values():
        raise _wrong_dtype(name, str(tensor.dtype).removeprefix("torch."))
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if tensor.numel() and not all(torch.isfinite(end) for end in torch.aminmax(tensor)):
        raise CheckpointError(f"tensor {name} holds NaN or infinite values: a failed training?")
    return tensor.float().contiguous()
