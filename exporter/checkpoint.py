"""Untrusted checkpoint files to tensors, and tensors to a variant's module: all of them or none.

Nothing in a file is executed: `exporter.torch_file` describes what a torch file holds, and the
tensors are views of the mapped file. A mapped file must not be changed while it is in use.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.onnx_file import read_onnx_file
from exporter.pickle_values import TensorSpec
from exporter.torch_file import ITEM_BYTES, TorchFile, read_torch_file
from exporter.variants import DECODER_PARTS, Layout, Variant, variants
from exporter.weight_files import digest, file_size, weight_files, why_unreadable

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
_COUNTER = ".num_batches_tracked"


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
        CheckpointError: it is missing, damaged, hostile, too large, or holds what no SAM holds.
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
        tensors: Iterable[tuple[str, Tensor]] = _read_safetensors(file, size).items()
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
    return {_checked(name): _usable(name, tensor) for name, tensor in tensors}


def _checked(name: str) -> str:
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise CheckpointError(f"has a tensor with an impossible name ({name:.40})")
    return name


def _printable(text: str) -> str:
    """What a file says may end up in a terminal: one line without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _guard(shapes: Iterable[tuple[int, ...]], size: int) -> None:
    """Tensors may share bytes, as tied weights do; not so often that a small file grows huge."""
    total = 4 * sum(math.prod(shape) for shape in shapes)
    if total > min(MOST_BYTES, 8 * size):
        raise CheckpointError(f"describes {total} bytes of tensors in {size} bytes; not read")


def _views(stored: TorchFile) -> Iterator[tuple[str, Tensor]]:
    """Tensors on the mapped file; a storage that lies askew in it is copied once."""
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


def _view(whole: Tensor, spec: TensorSpec) -> Tensor:
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
    """The tensor as contiguous float32, or as the whole numbers it is; never NaN or infinite."""
    if tensor.dtype not in _DTYPES.values():
        raise _wrong_dtype(name, str(tensor.dtype).removeprefix("torch."))
    if not tensor.is_floating_point():
        return tensor.contiguous()
    if tensor.numel() and not all(torch.isfinite(end) for end in torch.aminmax(tensor)):
        raise CheckpointError(f"tensor {name} holds NaN or infinite values: a failed training?")
    return tensor.float().contiguous()


def _read_safetensors(file: Path, size: int) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(why_unreadable(file, size, error)) from error
    if not tensors:
        raise CheckpointError("holds no tensors")
    _guard((tuple(tensor.shape) for tensor in tensors.values()), size)
    return tensors


class NoInitialisation(TorchFunctionMode):
    """Leaves new parameters as they are, untouched memory: all of them are assigned later.

    Unlike the meta device, it keeps the tables that a module computes when it is built.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in _RANDOM_FILLS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


_RANDOM_FILLS = (Tensor.uniform_, Tensor.normal_)


@dataclass(frozen=True)
class Fit:
    """How a layout's renamed tensors meet its module; `names` is ours -> published."""

    layout: Layout
    model: nn.Module
    tensors: Mapping[str, Tensor]
    names: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How many tensors do not fit; lower is closer."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)


def load_strict(
    variant: Variant, checkpoint: Checkpoint, decoder: Checkpoint | None = None
) -> tuple[nn.Module, Layout]:
    """The variant's module with the checkpoint's tensors, and the layout they came in.

    The module shares its memory with the checkpoints: change neither in place.

    Args:
        variant: what to build.
        checkpoint: read; the image encoder's where the decoder is published apart.
        decoder: read; None where `variant.decoder` is.

    Raises:
        CheckpointMismatch: tensors missing, unused or misshapen in every layout.
        CheckpointError: two published names of one tensor hold different values; a second file is
            lacking, or not wanted.
    """
    fit = best_fit(variant, checkpoint.tensors)
    if fit.faults:
        raise _mismatch(variant, fit, checkpoint)
    state = fit.model.state_dict() | _state(fit, checkpoint) | _decoder_state(variant, decoder)
    fit.model.load_state_dict(state, assign=True)
    return fit.model.eval(), fit.layout


def _state(fit: Fit, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The checkpoint's tensors by our names."""
    state = {}
    for ours, published in fit.names.items():
        first = fit.tensors[published[0]]
        for name in published[1:]:
            if not torch.equal(first, fit.tensors[name]):
                raise CheckpointError(
                    f"{checkpoint.path} holds one tensor twice, as {published[0]} and {name}, "
                    "with different values"
                )
        state[ours] = first
    return state


def _decoder_state(variant: Variant, decoder: Checkpoint | None) -> dict[str, Tensor]:
    """The second file's tensors that belong to the decoder, by our names."""
    if variant.decoder is None:
        if decoder is not None:
            raise CheckpointError(f"{variant.name} takes no second file; {decoder.path} is one")
        return {}
    if decoder is None:
        raise CheckpointError(
            f"{variant.name} is published in two files, and {variant.decoder.published.file} is "
            "lacking: pass --decoder-checkpoint FILE"
        )
    fit = _best_of(variant.decoder.layouts, decoder.tensors)
    if fit.faults:
        looks = guess_variants(decoder, variants().values())
        raise CheckpointMismatch(
            f"{variant.name}'s decoder",
            fit.missing,
            fit.unused,
            fit.misshapen,
            looks,
            otherwise=f"it is published as {variant.decoder.published.file}",
        )
    state = _state(fit, decoder)
    return {name: tensor for name, tensor in state.items() if name.startswith(DECODER_PARTS)}


def _mismatch(variant: Variant, fit: Fit, checkpoint: Checkpoint) -> CheckpointMismatch:
    others = [other for other in variants().values() if other.name != variant.name]
    looks = guess_variants(checkpoint, others)
    if fits_decoder(variant, checkpoint.tensors):
        looks = ["what --decoder-checkpoint takes"]
    return CheckpointMismatch(variant.name, fit.missing, fit.unused, fit.misshapen, looks)


def fits_decoder(variant: Variant, tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the second file of a variant that is published in two."""
    return variant.decoder is not None and not _best_of(variant.decoder.layouts, tensors).faults


def guess_variants(checkpoint: Checkpoint, candidates: Iterable[Variant]) -> list[str]:
    """The names of the variants whose tensors have exactly these names and shapes.

    A layout that takes a part of the network from the file counts where none takes all of it, and
    one that takes its widths from the file, which fits many files, where no other does.
    """
    ranks: dict[str, int] = {}
    for variant in candidates:
        fit = best_fit(variant, checkpoint.tensors)
        if not fit.faults:
            ranks[variant.name] = _rank(fit.layout)
    least = min(ranks.values(), default=0)
    return [name for name, rank in ranks.items() if rank == least]


def _rank(layout: Layout) -> int:
    """How little a fit says; lower is surer."""
    if layout.build_for is not None:
        return 2
    return 1 if layout.parts else 0


def best_fit(variant: Variant, tensors: Mapping[str, Tensor]) -> Fit:
    """The layout of the variant that the tensors come nearest to."""
    if not variant.layouts:
        raise CheckpointError(f"{variant.name} has no published layout")
    return _best_of(variant.layouts, tensors)


def _best_of(layouts: tuple[Layout, ...], tensors: Mapping[str, Tensor]) -> Fit:
    best = _fit(layouts[0], tensors)
    for layout in layouts[1:]:
        if not best.faults:
            break
        best = min(best, _fit(layout, tensors), key=lambda fit: fit.faults)
    return best


def _fit(layout: Layout, tensors: Mapping[str, Tensor]) -> Fit:
    tensors = layout.restore(tensors) if layout.restore else tensors
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with NoInitialisation():
        fit = Fit(layout, layout.module(shapes), tensors)
    parts = layout.parts or ("",)
    wanted = {n: t for n, t in fit.model.state_dict().items() if n.startswith(parts)}
    for published, tensor in tensors.items():
        ours = layout.rename(published)
        if ours is None:
            continue
        if ours not in wanted:
            if not ours.endswith(_COUNTER):
                fit.unused.append(published)
            continue
        fit.names.setdefault(ours, []).append(published)
        fit.misshapen.extend(_difference(published, tensor, wanted[ours]))
    fit.missing.extend(n for n in wanted if n not in fit.names and not n.endswith(_COUNTER))
    fit.missing.extend(name for name in layout.marks if name not in tensors)
    return fit


def _difference(name: str, given: Tensor, wanted: Tensor) -> Iterator[str]:
    if given.shape != wanted.shape:
        yield f"{name} {tuple(given.shape)} should be {tuple(wanted.shape)}"
    elif given.is_floating_point() != wanted.is_floating_point():
        kinds = [str(t.dtype).removeprefix("torch.") for t in (given, wanted)]
        yield f"{name} {kinds[0]} should be {kinds[1]}"
