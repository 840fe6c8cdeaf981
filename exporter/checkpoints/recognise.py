"""Recognise a checkpoint's variant by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exporter.checkpoints.fit import Fit, Renames, best_fit, fits_decoder, guess_variants
from exporter.checkpoints.reading import Checkpoint
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import Variant, variants

_MOST_COMPARED = 3000
"""Tensors of a file that is compared with every variant to name the nearest; none has so many."""


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
    size = sum(tensor.numel() for tensor in checkpoint.tensors.values())

    def could_be(variant: Variant) -> bool:
        whole = all(not layout.parts and layout.build_for is None for layout in variant.layouts)
        published = variant.published_size is None  # or the tables of positions differ
        return variant.parameters <= size or not (whole and published)

    return could_be


def _unknown(checkpoint: Checkpoint, known: Iterable[Variant], renames: Renames) -> CheckpointError:
    tensors = checkpoint.tensors
    owners = [variant.name for variant in known if fits_decoder(variant, tensors, renames)]
    if owners:
        return CheckpointError(
            f"{checkpoint.path} is the decoder of {', '.join(owners)}, published apart: pass it "
            "with --decoder-checkpoint, and the image encoder's file with --checkpoint"
        )
    nearest: list[str] = []
    closest: Fit | None = None
    for variant in known if len(tensors) <= _MOST_COMPARED else ():
        fit = best_fit(variant, tensors, renames)
        if closest is None or fit.faults < closest.faults:
            nearest, closest = [], fit
        if fit.faults == closest.faults:
            nearest.append(variant.name)
    if closest is None or len(closest.names) - len(closest.misshapen) < closest.faults:
        return CheckpointError(
            f"{checkpoint.path} holds {len(tensors)} tensors that look like no variant here; "
            "`sam-export --list` shows what there is"
        )
    return CheckpointMismatch(
        "the variants here", closest.missing, closest.unused, closest.misshapen, nearest
    )
