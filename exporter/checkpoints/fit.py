"""Load a checkpoint's tensors into a variant's module: all of them or none."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from exporter.checkpoints.published_form import published_form
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.tables import Table, build_module, layout_table, table_of
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.printable import printable
from exporter.variants import ENCODER_PARTS, Layout, Variant, variants

_COUNTER = ".num_batches_tracked"
_MOST_PER_TENSOR = 4
"""Tensors of a file for each of a network's, if the network takes its widths from the file."""


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
        """Build the layout's module for these tensors, untrained."""
        return build_module(self.layout, self.tensors)


class Renames:
    """The names of a file as layouts rename them; layouts that rename alike share the work.

    Attributes:
        parts: names of parts of layouts, as `exporter.checkpoints.parts` keeps them here.
    """

    def __init__(self) -> None:
        self.parts: dict[Any, tuple[set[str], set[str]]] = {}
        self._made: dict[Any, dict[str, str | None]] = {}

    def of(self, layout: Layout) -> Callable[[str], str | None]:
        """Wrap the layout's `rename` so that it remembers."""
        rename: Callable[[str], str | None] = layout.rename
        key: Any = rename
        if isinstance(rename, functools.partial):
            key = (rename.func, rename.args, tuple(sorted(rename.keywords.items())))
        made = self._made.setdefault(key, {})

        def remembered(name: str) -> str | None:
            if name not in made:
                made[name] = rename(name)
            return made[name]

        return remembered


def load_strict(
    variant: Variant,
    checkpoint: Checkpoint,
    decoder: Checkpoint | None = None,
    replaced: Mapping[str, Tensor] | None = None,
) -> tuple[nn.Module, Layout]:
    """Build the variant's module with the checkpoint's tensors; returns it and their layout.

    The module shares its memory with the checkpoints: change neither in place.

    Args:
        variant: what to build.
        checkpoint: already read; the image encoder's if the decoder has its own file.
        decoder: already read; None if `variant.decoder` is None.
        replaced: our names -> tensors that take the place of the checkpoint's.

    Raises:
        CheckpointMismatch: tensors missing, unused or misshapen in every layout.
        CheckpointError: two published names of one tensor hold different values; the second file
            is missing, or the variant takes none.
    """
    fit = best_fit(variant, checkpoint.tensors)
    # What a part's own file replaces may be missing: SAM's network under an HQ-SAM decoder.
    fit.missing[:] = [name for name in fit.missing if name not in (replaced or {})]
    if fit.faults:
        raise _mismatch(variant, fit, checkpoint)
    model = fit.module()
    state = model.state_dict() | _state(fit, checkpoint) | _decoder_state(variant, decoder)
    state |= replaced or {}
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
    fit = _best_of(variant.decoder.layouts, decoder.tensors, Renames())
    if fit.faults:
        looks = guess_variants(decoder, variants().values())
        raise CheckpointMismatch(
            f"{variant.name}'s decoder",
            fit.missing,
            fit.unused,
            fit.misshapen,
            looks,
            advice="" if looks else f"it is published as {variant.decoder.published.file}",
        )
    state = _state(fit, decoder)
    return {name: tensor for name, tensor in state.items() if not name.startswith(ENCODER_PARTS)}


def _mismatch(variant: Variant, fit: Fit, checkpoint: Checkpoint) -> CheckpointMismatch:
    others = [other for other in variants().values() if other.name != variant.name]
    looks = guess_variants(checkpoint, others)
    if decoder_owners([variant], checkpoint.tensors):
        looks = ["the file for --decoder-checkpoint"]
    advice = "" if looks else settle(fit.missing, fit.unused, fit.misshapen)
    if advice:
        looks = [variant.name]
    return CheckpointMismatch(
        variant.name, fit.missing, fit.unused, fit.misshapen, looks, advice=advice
    )


_PARTS = {
    *("image_encoder", "prompt_encoder", "mask_decoder", "vision_encoder"),
    *("sam_mask_decoder", "sam_prompt_encoder"),
}
_MOST_PATTERNS = 3


def settle(missing: list[str], unused: list[str], misshapen: list[str]) -> str:
    """Say which option would make a file fit that holds more than the network; empty if none."""
    if not unused or missing or misshapen:
        return ""
    patterns = set()
    for name in unused:
        first, _, rest = name.partition(".")
        inside = f"{name.rpartition('.')[0]}.*" if first in _PARTS else f"{first}.*"
        patterns.add(inside if rest else name)
    if len(patterns) > _MOST_PATTERNS:
        return ""
    options = " ".join(f"--ignore '{printable(each, 80)}'" for each in sorted(patterns))
    return f"if it can do without what is unused, {options}"


def decoder_owners(
    candidates: Iterable[Variant], tensors: Mapping[str, Tensor], renames: Renames | None = None
) -> list[str]:
    """Name the variants published in two files whose second these tensors are."""
    renames = renames or Renames()
    rows = [(each.name, each.decoder.layouts) for each in candidates if each.decoder is not None]
    plain = published_form(tensors) if rows else tensors
    return [name for name, held in rows if any(_fits(each, plain, renames) for each in held)]


def guess_variants(
    checkpoint: Checkpoint, candidates: Iterable[Variant], renames: Renames | None = None
) -> list[str]:
    """Name the variants whose tensors have exactly these names and shapes, in published form."""
    return fitting(checkpoint.tensors, candidates, renames)


def fitting(
    given: Mapping[str, Tensor],
    candidates: Iterable[Variant],
    renames: Renames | None = None,
) -> list[str]:
    """Name the variants whose tensors these are exactly, in published form.

    A layout for a part of the network counts only if no layout fits the whole file. A layout that
    takes its widths from the file, and so fits many files, counts only if no other layout fits.
    """
    renames = renames or Renames()
    ranks: dict[str, int] = {}
    tensors = published_form(given)
    for variant in candidates:
        found = (la for la in variant.layouts if _fits(la, tensors, renames))
        if (layout := next(found, None)) is not None:
            ranks[variant.name] = _rank(layout)
    least = min(ranks.values(), default=0)
    return [name for name, rank in ranks.items() if rank == least]


def _fits(layout: Layout, tensors: Mapping[str, Tensor], renames: Renames) -> bool:
    """Tell whether these are a layout's tensors; ends at the first that is not."""
    table = layout_table(layout)
    if layout.build_for is not None:  # other widths, and maybe other names
        few = len(tensors) <= _MOST_PER_TENSOR * len(table)
        alike = few and _is_alike(table, tensors, renames.of(layout))
        return alike and not fit_of(layout, tensors, renames).faults
    tensors = layout.restore(tensors) if layout.restore else tensors
    parameters = _parameters(layout, table)
    needed = {name for name in parameters if not name.endswith(_COUNTER)}
    if len(tensors) < len(needed) or not all(mark in tensors for mark in layout.marks):
        return False
    rename = renames.of(layout)
    for published, tensor in tensors.items():
        ours = rename(published)
        if ours is None or (ours not in parameters and ours.endswith(_COUNTER)):
            continue
        if ours not in parameters or any(difference(published, tensor, parameters[ours])):
            return False
        needed.discard(ours)
    return not needed


def _is_alike(
    table: Table, tensors: Mapping[str, Tensor], known: Callable[[str], str | None]
) -> bool:
    """Tell whether a file may be a network of other widths; building one takes a tenth of a second.

    Deeper networks have more names than the table's, but not twice.
    """
    return 2 * sum(known(name) in table for name in tensors) >= len(tensors)


def _parameters(layout: Layout, table: Table) -> Table:
    parts = layout.parts or ("",)
    return {name: row for name, row in table.items() if name.startswith(parts)}


def _rank(layout: Layout) -> int:
    """Rank a layout by how many files it fits; lower is surer."""
    if layout.build_for is not None:
        return 2
    return 1 if layout.parts else 0


def best_fit(
    variant: Variant, tensors: Mapping[str, Tensor], renames: Renames | None = None
) -> Fit:
    """Find the variant's layout with the fewest faults."""
    if not variant.layouts:
        raise CheckpointError(f"{variant.name} has no published layout")
    return _best_of(variant.layouts, tensors, renames or Renames())


def _best_of(layouts: tuple[Layout, ...], tensors: Mapping[str, Tensor], renames: Renames) -> Fit:
    best = fit_of(layouts[0], tensors, renames)
    for layout in layouts[1:]:
        if not best.faults:
            break
        best = min(best, fit_of(layout, tensors, renames), key=lambda fit: fit.faults)
    return best


def fit_of(layout: Layout, tensors: Mapping[str, Tensor], renames: Renames) -> Fit:
    """Hold a file's tensors against a layout."""
    tensors = layout.restore(tensors) if layout.restore else tensors
    fit, rename = Fit(layout, tensors), renames.of(layout)
    table = layout_table(layout)
    if layout.build_for is not None and _is_alike(table, tensors, rename):
        table = table_of(fit.module())
    parameters = _parameters(layout, table)
    for published, tensor in tensors.items():
        ours = rename(published)
        if ours is None:
            continue
        if ours not in parameters:
            if not ours.endswith(_COUNTER):
                fit.unused.append(published)
            continue
        fit.names.setdefault(ours, []).append(published)
        fit.misshapen.extend(difference(published, tensor, parameters[ours]))
    fit.missing.extend(n for n in parameters if n not in fit.names and not n.endswith(_COUNTER))
    fit.missing.extend(name for name in layout.marks if name not in tensors)
    return fit


def is_counter(name: str) -> bool:
    """Tell whether a tensor counts batches, which no network needs."""
    return name.endswith(_COUNTER)


def difference(name: str, given: Tensor, wanted: tuple[tuple[int, ...], bool]) -> Iterator[str]:
    """Yield what is wrong with a tensor's shape or kind, if anything is."""
    shape, floating = wanted
    if tuple(given.shape) != shape:
        yield f"{name} {tuple(given.shape)} should be {shape}"
    elif given.is_floating_point() != floating:
        kind = str(given.dtype).removeprefix("torch.")
        yield f"{name} {kind} should be {'float32' if floating else 'int64'}"
