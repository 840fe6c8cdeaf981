"""Load a checkpoint's tensors into a variant's module: all of them or none."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from exporter.checkpoints.reading import Checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import DECODER_PARTS, Layout, Variant, variants

_COUNTER = ".num_batches_tracked"


class NoInitialisation(TorchFunctionMode):
    """Skip random initialisation; every parameter is assigned from the file.

    Unlike the meta device, this keeps the tables that a module computes when it is built.
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
    """A layout's renamed tensors against its module; `names` is ours -> published."""

    layout: Layout
    tensors: Mapping[str, Tensor]
    names: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Number of tensors that do not fit; lower is closer."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)

    def module(self) -> nn.Module:
        """The layout's module for these tensors, untrained."""
        return _module(self.layout, self.tensors)


def load_strict(
    variant: Variant, checkpoint: Checkpoint, decoder: Checkpoint | None = None
) -> tuple[nn.Module, Layout]:
    """Build the variant's module with the checkpoint's tensors; returns it and their layout.

    The module shares its memory with the checkpoints: change neither in place.

    Args:
        variant: what to build.
        checkpoint: already read; the image encoder's if the decoder has its own file.
        decoder: already read; None if `variant.decoder` is None.

    Raises:
        CheckpointMismatch: tensors missing, unused or misshapen in every layout.
        CheckpointError: two published names of one tensor hold different values; the second file
            is missing, or the variant takes none.
    """
    fit = best_fit(variant, checkpoint.tensors)
    if fit.faults:
        raise _mismatch(variant, fit, checkpoint)
    model = fit.module()
    state = model.state_dict() | _state(fit, checkpoint) | _decoder_state(variant, decoder)
    model.load_state_dict(state, assign=True)
    return model.eval(), fit.layout


def _state(fit: Fit, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Map our names to the checkpoint's tensors."""
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
    """Map our names to the second file's decoder tensors."""
    if variant.decoder is None:
        if decoder is not None:
            raise CheckpointError(f"{variant.name} takes no second file; {decoder.path} is one")
        return {}
    if decoder is None:
        raise CheckpointError(
            f"{variant.name} is published in two files, and {variant.decoder.published.file} is "
            "missing: pass --decoder-checkpoint FILE"
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
        looks = ["the file for --decoder-checkpoint"]
    return CheckpointMismatch(variant.name, fit.missing, fit.unused, fit.misshapen, looks)


def fits_decoder(variant: Variant, tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the second file of a variant that is published in two."""
    return variant.decoder is not None and not _best_of(variant.decoder.layouts, tensors).faults


def guess_variants(checkpoint: Checkpoint, candidates: Iterable[Variant]) -> list[str]:
    """Name the variants whose tensors have exactly these names and shapes.

    A layout for a part of the network counts only if no layout fits the whole file. A layout that
    takes its widths from the file, and so fits many files, counts only if no other layout fits.
    """
    ranks: dict[str, int] = {}
    for variant in candidates:
        fit = best_fit(variant, checkpoint.tensors)
        if not fit.faults:
            ranks[variant.name] = _rank(fit.layout)
    least = min(ranks.values(), default=0)
    return [name for name, rank in ranks.items() if rank == least]


def _rank(layout: Layout) -> int:
    """Rank a layout by how many files it fits; lower is surer."""
    if layout.build_for is not None:
        return 2
    return 1 if layout.parts else 0


def best_fit(variant: Variant, tensors: Mapping[str, Tensor]) -> Fit:
    """Find the variant's layout with the fewest faults."""
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
    fit, parts = Fit(layout, tensors), layout.parts or ("",)
    ours_of = _tensors_of(layout) if layout.build_for is None else fit.module().state_dict()
    parameters = {n: t for n, t in ours_of.items() if n.startswith(parts)}
    for published, tensor in tensors.items():
        ours = layout.rename(published)
        if ours is None:
            continue
        if ours not in parameters:
            if not ours.endswith(_COUNTER):
                fit.unused.append(published)
            continue
        fit.names.setdefault(ours, []).append(published)
        fit.misshapen.extend(_difference(published, tensor, parameters[ours]))
    fit.missing.extend(n for n in parameters if n not in fit.names and not n.endswith(_COUNTER))
    fit.missing.extend(name for name in layout.marks if name not in tensors)
    return fit


def _module(layout: Layout, tensors: Mapping[str, Tensor]) -> nn.Module:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with NoInitialisation():
        return layout.module(shapes)


@functools.cache
def _tensors_of(layout: Layout) -> Mapping[str, Tensor]:
    """Names, shapes and types without values: the module is built for the first file only."""
    return {n: t.to("meta") for n, t in _module(layout, {}).state_dict().items()}


def _difference(name: str, given: Tensor, wanted: Tensor) -> Iterator[str]:
    if given.shape != wanted.shape:
        yield f"{name} {tuple(given.shape)} should be {tuple(wanted.shape)}"
    elif given.is_floating_point() != wanted.is_floating_point():
        kinds = [str(t.dtype).removeprefix("torch.") for t in (given, wanted)]
        yield f"{name} {kinds[0]} should be {kinds[1]}"
