"""Recognise a checkpoint's variant by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exporter.checkpoints.adapt import require_known
from exporter.checkpoints.choose import choose_by
from exporter.checkpoints.fit import Renames, decoder_owners, guess_variants, settle
from exporter.checkpoints.nearest import MOST_COMPARED, nearest
from exporter.checkpoints.parts import OPTIONS, nearest_part, owners_of, part_of
from exporter.checkpoints.published_form import published_form
from exporter.checkpoints.reading import Checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.printable import some
from exporter.variants import Variant, variants

_SHOWN = 4


def recognise(checkpoint: Checkpoint, candidates: Iterable[Variant] | None = None) -> str:
    """Name the one variant whose tensors these are.

    Args:
        checkpoint: already read.
        candidates: the variants, at the size of the file; None for every one as it is published.

    Raises:
        CheckpointError: several variants have these names and shapes, or it is the decoder's file
            of a variant published in two; the message names them.
        CheckpointMismatch: none has; the message names the nearest variant and the differences.
    """
    known = list(variants().values() if candidates is None else candidates)
    renames = Renames()
    fitting = guess_variants(checkpoint, filter(_large_enough(checkpoint), known), renames)
    if not fitting:
        raise _unknown(checkpoint, known, renames)
    *others, last = fitting
    if others:
        raise CheckpointError(
            f"{checkpoint.path} fits {', '.join(others)} and {last}: their tensors have the same "
            "names and shapes, so say which it is with --variant"
        )
    return last


def _large_enough(checkpoint: Checkpoint) -> Callable[[Variant], bool]:
    """Make a test if a file can hold all of a variant's parameters; cheaper than building it."""
    size = sum(tensor.numel() for tensor in published_form(checkpoint.tensors).values())

    def could_be(variant: Variant) -> bool:
        whole = all(not layout.parts and layout.build_for is None for layout in variant.layouts)
        published = variant.published_size is None  # or the tables of positions differ
        return variant.parameters <= size or not (whole and published)

    return could_be


def _unknown(checkpoint: Checkpoint, known: Iterable[Variant], renames: Renames) -> CheckpointError:
    require_known(checkpoint)
    tensors = checkpoint.tensors
    part = _part_alone(checkpoint, known, renames)
    if part is not None:
        return part
    owners = decoder_owners(known, tensors, renames)
    if owners:
        return CheckpointError(
            f"{checkpoint.path} is the decoder of {', '.join(owners)}, published apart: pass it "
            "with --decoder-checkpoint, and the image encoder's file with --checkpoint"
        )
    near = nearest(tensors, known, renames)
    if near is None:
        few = len(tensors) <= MOST_COMPARED
        if few and (differs := nearest_part(known, checkpoint, renames)):
            return CheckpointError(differs)
        return CheckpointError(
            f"{checkpoint.path} holds {len(tensors)} tensors that look like no variant here; "
            "`sam-export --list` shows what there is"
        )
    fit = near.fit
    return CheckpointMismatch(
        "the variants here",
        fit.missing,
        fit.unused,
        fit.misshapen,
        near.names,
        advice=settle(fit.missing, fit.unused, fit.misshapen),
    )


def _part_alone(
    checkpoint: Checkpoint, known: Iterable[Variant], renames: Renames
) -> CheckpointError | None:
    """Say of a file that holds one part of a network which it is, and what to give beside it."""
    if len(checkpoint.tensors) > MOST_COMPARED:
        return None
    for part, option in OPTIONS.items():
        held = choose_by(checkpoint, part_of(known, part, renames))
        owners = owners_of(known, part, held.tensors, renames)
        if not owners:
            continue
        if part == "mask decoder":  # some are published in a file of their own
            owners += decoder_owners(known, held.tensors, renames)
        return CheckpointError(
            f"{checkpoint.path} holds only the {part} of {some(owners, _SHOWN)}: give it with "
            f"{option}, and the network that it was trained in with --checkpoint (or --variant, to "
            "download it)"
        )
    return None
