"""A file that holds one part of a network: a mask decoder that was trained alone, say.

Training code saves `sam.mask_decoder.state_dict()`, whose names lack the part's own, or those
tensors of the whole whose names begin with it. The part replaces the base's, all of it or nothing.
Tensors that are published with the decoder and belong to the encoder here (`exporter.models.sam2`)
go with the decoder. A file of the whole network may be given for a part; then the rest of it is
not used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from exporter.checkpoints.fit import Fit, Renames, difference, fit_of, is_counter, settle
from exporter.checkpoints.published_form import published_form
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.tables import Table, layout_table
from exporter.errors import CheckpointMismatch
from exporter.printable import some
from exporter.variants import ENCODER_PARTS, Layout, Slots, Variant, variants

if TYPE_CHECKING:
    from torch import Tensor

Part = Literal["image encoder", "mask decoder"]
OPTIONS: Mapping[Part, str] = {
    "image encoder": "--encoder-checkpoint",
    "mask decoder": "--decoder-checkpoint",
}
_DECODERS = ("mask_decoder.", "sam_mask_decoder.")
_LEADS: Mapping[Part, tuple[str, ...]] = {
    "image encoder": ("", "image_encoder.", "vision_encoder."),
    "mask decoder": ("", *_DECODERS),
}
_PROMPTS = "prompt_encoder."
_OWN: Mapping[Part, tuple[str, ...]] = {
    "image encoder": ENCODER_PARTS,
    "mask decoder": ("mask_decoder.",),
}
_SHOWN, _NEAR = 4, 5
"""Owners that are named; how many tensors fit for each that does not, in a part that is near."""
_LENT, _MORE = 16, 16
"""Tensors that are published with another part, at most; and what takes no part in an image."""


@dataclass(frozen=True)
class PartFit:
    """A file's tensors against one part of a layout; `tensors` by our names."""

    layout: Layout
    tensors: Mapping[str, Tensor]
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """Number of tensors that do not fit."""
        return len(self.missing) + len(self.unused) + len(self.misshapen)


def is_in_parts(variant: Variant) -> bool:
    """Tell whether a part of the variant can have a file of its own beside the whole's."""
    return isinstance(variant.prompting, Slots) and variant.decoder is None


def owners_of(
    known: Iterable[Variant], part: Part, tensors: Mapping[str, Tensor], renames: Renames
) -> list[str]:
    """Name the variants whose part these are exactly, as they are or in published form."""
    forms = _forms(tensors)
    return [variant.name for variant in known if _fits_part(variant, part, forms, renames)]


def _forms(tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], ...]:
    """Return the tensors as they are, and in published form if that is another."""
    plain = published_form(tensors)
    return (tensors,) if plain is tensors else (tensors, plain)


def _fits_part(
    variant: Variant, part: Part, forms: Sequence[Mapping[str, Tensor]], renames: Renames
) -> bool:
    return is_in_parts(variant) and any(
        _may_fit(layout, lead, given, renames)
        and not _part_fit(layout, part, lead, given, renames).faults
        for given in forms
        for layout in variant.layouts
        for lead in _LEADS[part]
        if _is_of_its_size(layout, part, len(given))
    )


def _is_of_its_size(layout: Layout, part: Part, count: int) -> bool:
    """Tell whether a file has about as many tensors as the part."""
    least, most = _sizes(layout, part)
    return least <= count <= most


@functools.cache
def _sizes(layout: Layout, part: Part) -> tuple[int, int]:
    """Count the least and the most tensors of a file of the part."""
    table, decodes = layout_table(layout), part == "mask decoder"
    least = sum(ours.startswith(_OWN[part]) for ours in table)
    most = least + sum(ours.startswith(_PROMPTS) for ours in table if decodes)
    return least - _LENT, most + _LENT + _MORE


def _may_fit(layout: Layout, lead: str, tensors: Mapping[str, Tensor], renames: Renames) -> bool:
    """Tell whether every name is one of the network's; ends at the first that is not."""
    table, rename = layout_table(layout), renames.of(layout)
    given: Mapping[str, Tensor] = {lead + name: tensor for name, tensor in tensors.items()}
    given = layout.restore(given) if layout.restore else given
    named = (rename(name) for name in given)
    return all(ours is None or ours in table or is_counter(ours) for ours in named)


def part_of(
    candidates: Iterable[Variant], part: Part, renames: Renames | None = None
) -> Callable[[Mapping[str, Tensor]], bool]:
    """Make the test whether tensors are exactly the part of one of the candidates."""
    known, shared = list(candidates), renames or Renames()

    def fits(tensors: Mapping[str, Tensor]) -> bool:
        forms = _forms(tensors)  # once for all candidates: it searches every name
        return any(_fits_part(variant, part, forms, shared) for variant in known)

    return fits


def part_state(variant: Variant, part: Part, file: Checkpoint) -> dict[str, Tensor]:
    """Map our names to the part's tensors in a file of the part, or of the whole network.

    Raises:
        CheckpointMismatch: it is neither.
    """
    renames = Renames()
    for layout in variant.layouts:
        whole = fit_of(layout, file.tensors, renames)
        if not whole.faults:
            return _of_whole(whole, part, renames)
    fit = best_part(variant, part, file.tensors, renames)
    if fit.faults:
        raise CheckpointMismatch(
            f"{variant.name}'s {part}",
            fit.missing,
            fit.unused,
            fit.misshapen,
            advice=_advice(variant, part, file, fit, renames),
        )
    return dict(fit.tensors)


def _advice(variant: Variant, part: Part, file: Checkpoint, fit: PartFit, renames: Renames) -> str:
    """Say whose part a file is instead, or what would make it fit."""
    others = [each for each in variants().values() if each.name != variant.name]
    for kind in OPTIONS:
        owners = owners_of(others, kind, file.tensors, renames)
        own = kind != part and owners_of([variant], kind, file.tensors, renames)
        if own:
            return f"it is the {kind}: give it with {OPTIONS[kind]}"
        if owners:
            return (
                f"it is the {kind} of {some(owners, _SHOWN)}: say which with --variant, or give "
                "its network with --checkpoint"
            )
    settled = settle(fit.missing, fit.unused, fit.misshapen)
    return settled or f"{OPTIONS[part]} takes a file of {variant.name}, or of its {part} alone"


def nearest_part(known: Iterable[Variant], file: Checkpoint, renames: Renames) -> str:
    """Say which part of a network a file nearly is, what differs and what settles it; or nothing.

    Args:
        known: the variants that it may be of.
        file: whose tensors fit none.
        renames: of the file's names.
    """
    near: list[tuple[int, str, Part, PartFit]] = []
    candidates = [each for each in known if is_in_parts(each) and _may_be_near(each, file.tensors)]
    for part in OPTIONS:
        for variant in candidates:
            fit = best_part(variant, part, file.tensors, renames)
            if fit.faults * _NEAR <= len(fit.tensors):
                near.append((fit.faults, variant.name, part, fit))
    if not near:
        return ""
    least, _name, part, fit = min(near, key=lambda each: each[0])
    owners = [name for faults, name, kind, _fit in near if faults == least and kind == part]
    differs = CheckpointMismatch(
        f"the {part}s here",
        fit.missing,
        fit.unused,
        fit.misshapen,
        [f"the {part} of {some(owners, _SHOWN)}"],
        advice="; ".join(
            filter(
                None,
                (f"give it with {OPTIONS[part]}", settle(fit.missing, fit.unused, fit.misshapen)),
            )
        ),
    )
    return str(differs)


def _may_be_near(variant: Variant, tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether there are few enough tensors: those beyond the network's fit nothing."""
    most = max(len(layout_table(layout)) for layout in variant.layouts)
    return (len(tensors) - most) * _NEAR <= most


def best_part(
    variant: Variant, part: Part, tensors: Mapping[str, Tensor], renames: Renames | None = None
) -> PartFit:
    """Find the layout, and the words that the names lack, with the fewest faults."""
    renames = renames or Renames()
    fits = (
        _part_fit(layout, part, lead, tensors, renames)
        for layout in variant.layouts
        for lead in _LEADS[part]
    )
    best = next(fits)
    for fit in fits:
        if not best.faults:
            break
        best = min(best, fit, key=lambda each: each.faults)
    return best


def _part_fit(
    layout: Layout, part: Part, lead: str, tensors: Mapping[str, Tensor], renames: Renames
) -> PartFit:
    given = {lead + name: tensor for name, tensor in tensors.items()}
    given = layout.restore(given) if layout.restore else given
    table, rename = layout_table(layout), renames.of(layout)
    needed, allowed = _names(layout, part, table, renames)
    wanted = set(needed)
    found: dict[str, Tensor] = {}
    fit = PartFit(layout, found)
    for published, tensor in given.items():
        ours = rename(published)
        if ours is None or (is_counter(ours) and ours not in table):
            continue
        if ours not in allowed:
            fit.unused.append(published.removeprefix(lead))
            continue
        found[ours] = tensor
        fit.misshapen.extend(difference(published.removeprefix(lead), tensor, table[ours]))
    if any(ours.startswith(_PROMPTS) for ours in found):  # whole, or not at all
        wanted |= {ours for ours in table if ours.startswith(_PROMPTS)}
    fit.missing.extend(o for o in sorted(wanted) if o not in found and not is_counter(o))
    return fit


def _names(layout: Layout, part: Part, table: Table, renames: Renames) -> tuple[set[str], set[str]]:
    """List our names that the part must have, and all that it may have."""
    key = id(table), layout.rename, part
    if key not in renames.parts:
        renames.parts[key] = _find_names(layout, part, table, renames)
    return renames.parts[key]


def _find_names(
    layout: Layout, part: Part, table: Table, renames: Renames
) -> tuple[set[str], set[str]]:
    encoder = {ours for ours in table if ours.startswith(ENCODER_PARTS)}
    lent = _lent(layout, encoder, renames)
    alone = {ours for ours in encoder - lent if renames.of(layout)(_tail(ours)) == ours}
    if part == "image encoder":
        return encoder - lent - alone, encoder - lent
    decoder = {ours for ours in table if ours.startswith("mask_decoder.")}
    prompts = {ours for ours in table if ours.startswith(_PROMPTS)}
    return decoder | lent, decoder | lent | prompts


def _lent(layout: Layout, encoder: Iterable[str], renames: Renames) -> set[str]:
    """List our encoder's names that are published with the decoder."""
    rename = renames.of(layout)
    return {
        ours for ours in encoder if any(rename(lead + _tail(ours)) == ours for lead in _DECODERS)
    }


def _tail(ours: str) -> str:
    return ours.partition(".")[2]


def _of_whole(fit: Fit, part: Part, renames: Renames) -> dict[str, Tensor]:
    _wanted, allowed = _names(fit.layout, part, layout_table(fit.layout), renames)
    return {ours: fit.tensors[names[0]] for ours, names in fit.names.items() if ours in allowed}
