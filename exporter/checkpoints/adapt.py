"""Make a variant as a checkpoint has it: other mask tokens than the published one's."""

from __future__ import annotations

from exporter.checkpoints.mask_tokens import PUBLISHED, count_mask_tokens, with_mask_tokens
from exporter.checkpoints.reading import Checkpoint
from exporter.progress import Progress
from exporter.variants import Variant


def adapt(variant: Variant, checkpoint: Checkpoint, report: Progress) -> tuple[Variant, Checkpoint]:
    """Change the variant to what the checkpoint holds, and say how it differs.

    Args:
        variant: as published.
        checkpoint: with the network's tensors alone (`exporter.checkpoints.choose`).
        report: called with each difference.

    Raises:
        CheckpointError: the variant cannot be built so.
    """
    count = count_mask_tokens(checkpoint.tensors)
    if count not in (None, PUBLISHED):
        variant = with_mask_tokens(variant, count)
        report(f"{variant.name}: {count} mask tokens, where {PUBLISHED} are published")
    return variant, checkpoint
