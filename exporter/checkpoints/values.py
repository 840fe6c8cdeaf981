"""Make the tensors that a file describes, on its mapped bytes. Importing it brings no torch.

A tensor is made once, however many sets of the file hold it: whoever chooses among the sets tells
by that which are parts of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.checkpoints.contents import ITEM_BYTES, Contents, StoredTensor
from exporter.checkpoints.names import network_prefix, training_beside, without_wrappers
from exporter.errors import CheckpointError
from exporter.printable import printable

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32")
_NO_VALUES = {"meta": "meta, which has no values: save the network after its weights are loaded"}
_SMALL = 2
"""A first set that is so many times smaller than another is not the network's."""


class NotFinite(CheckpointError):
    """A tensor holds NaN or infinite values."""


Sets = dict[str, dict[str, "Tensor"]]


def make_sets(contents: Contents) -> Sets:
    """Make the tensors of every set, in their order; one with what no network holds is left out.

    A tensor that is training's by its name, and of a kind that no weight is, is an empty one in its
    set: it is never a network's.

    Raises:
        CheckpointError: the first set, if it may be the network's, holds such a tensor.
    """
    maker, sets = _Maker(contents.storages), Sets()
    refused: CheckpointError | None = None
    for place, specs in contents.sets.items():
        try:
            sets[place] = maker.make(specs)
        except CheckpointError as error:  # an optimiser's, say
            first = place == next(iter(contents.sets))
            refused = error if first and _may_be_network(place, contents) else refused
    if refused is not None:
        raise refused
    return sets


def _may_be_network(place: str, contents: Contents) -> bool:
    """Tell whether a first set is neither small nor several others put together."""
    own = contents.sets[place]
    others = [held for at, held in contents.sets.items() if at != place]
    inside = {id(spec) for held in others for spec in held.values()}
    joined = all(id(spec) in inside for spec in own.values())
    return not joined and _SMALL * len(own) >= max(map(len, others), default=0)


class _Maker:
    """Makes a file's tensors; a misaligned storage is copied once."""

    def __init__(self, storages: Mapping[str, memoryview]) -> None:
        self._storages = storages
        self._whole: dict[str, Tensor] = {}
        self._made: dict[int, Tensor] = {}

    def make(self, specs: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
        """Make a set, after all of it is seen to be of kinds that a network's tensors are."""
        odd = [name for name, spec in specs.items() if not _is_plain(spec)]
        beside = _training(specs) if odd else set[str]()
        for name in odd:
            if name not in beside:
                raise _odd(name, specs[name].dtype)
        return {name: self._tensor(name, spec, specs) for name, spec in specs.items()}

    def _tensor(self, name: str, spec: StoredTensor, specs: Mapping[str, StoredTensor]) -> Tensor:
        import torch

        if not _is_plain(spec):
            return torch.empty(0)
        made = self._made.get(id(spec))
        if made is None:
            made = _usable(_view(self._storage(spec.storage.key), spec))
            if made is None:
                if name not in _training(specs):
                    raise NotFinite(
                        f"tensor {name} holds NaN or infinite values: a failed training?"
                    )
                return torch.empty(0)
            self._made[id(spec)] = made
        return made

    def _storage(self, key: str) -> Tensor:
        if key not in self._whole:
            self._whole[key] = _storage_bytes(self._storages[key])
        return self._whole[key]


def _is_plain(spec: StoredTensor) -> bool:
    return spec.dtype in _DTYPES and spec.dtype == spec.storage.dtype


def _training(specs: Mapping[str, StoredTensor]) -> set[str]:
    """List the names that are training's, beside a network whose parts are named."""
    plain = {word: name for name, word in without_wrappers(specs).items()}
    return {plain[word] for word in training_beside(plain, network_prefix(plain))}


def _odd(name: str, dtype: str) -> CheckpointError:
    kind = printable(dtype, 40)
    return CheckpointError(
        f"tensor {name} is {_NO_VALUES.get(kind, kind)}; weights are float32, float16 or "
        "bfloat16, counters int64 or int32"
    )


def _storage_bytes(held: memoryview) -> Tensor:
    import torch

    if held.nbytes == 0:
        return torch.empty(0, dtype=torch.uint8)
    mapped = torch.frombuffer(held, dtype=torch.uint8)
    return mapped if mapped.data_ptr() % 8 == 0 else mapped.clone()


def _view(whole: Tensor, spec: StoredTensor) -> Tensor:
    import torch

    width, storage = ITEM_BYTES[spec.dtype], spec.storage
    run = whole[storage.start * width : (storage.start + storage.numel) * width]
    flat = run.view(getattr(torch, spec.dtype))
    if math.prod(spec.shape) == 0:
        return flat.new_empty(spec.shape)
    return flat[spec.offset :].as_strided(spec.shape, spec.strides)


def _usable(tensor: Tensor) -> Tensor | None:
    """Make a tensor contiguous and float32, or leave its whole numbers; None for NaN, infinity."""
    import torch

    if not tensor.is_floating_point():
        return tensor.contiguous()
    if tensor.numel() and not all(torch.isfinite(end) for end in torch.aminmax(tensor)):
        return None
    return tensor.float().contiguous()
