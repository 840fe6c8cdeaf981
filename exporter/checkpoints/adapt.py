"""Make a variant as a checkpoint has it: LoRA folded in, adapters, other mask tokens."""

from __future__ import annotations

import dataclasses

from exporter.checkpoints.adapters import Adapters, find_adapters, with_adapters
from exporter.checkpoints.lora_adapter import (
    fold_adapter,
    fold_own,
    read_adapter,
    require_base,
)
from exporter.checkpoints.lora_options import LoraOptions
from exporter.checkpoints.mask_tokens import (
    PUBLISHED,
    count_mask_tokens,
    with_mask_tokens,
    with_token_shapes,
)
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.resized import late_tables
from exporter.errors import CheckpointError, RequestError
from exporter.printable import printable
from exporter.progress import Progress
from exporter.variants import Variant


def adapt(
    variant: Variant,
    checkpoint: Checkpoint,
    options: LoraOptions,
    report: Progress,
    decoder: Checkpoint | None = None,
) -> tuple[Variant, Checkpoint]:
    """Change the variant to what the checkpoint holds, and say how it differs.

    Args:
        variant: as published.
        checkpoint: with the network's tensors alone (`exporter.checkpoints.choose`).
        options: an adapter for it, and what no file says of LoRA.
        report: called with each difference.
        decoder: the file that replaces the checkpoint's mask decoder; None for none.

    Raises:
        CheckpointError: the adapter does not fit, or the variant cannot be built so.
        RequestError: an option of LoRA without LoRA.
    """
    changes: list[str] = []
    if late := late_tables(variant, checkpoint.tensors):
        changes.append(
            f"{late} tables of relative positions for {variant.published_size} pixels are resized "
            f"to {variant.preprocess.size}, as SAM's own code does when it runs"
        )
    checkpoint = _with_lora(variant, checkpoint, options, changes)
    adapters = _adapters(checkpoint)
    if adapters is not None:
        variant = with_adapters(variant, adapters)
        changes.append(str(adapters))
        if adapters.form.note:
            report(f"{variant.name}: {adapters.form.note}")
    count = count_mask_tokens((decoder or checkpoint).tensors)
    if decoder is not None and count is not None:  # the other decoder's shapes, to be replaced
        shaped = with_token_shapes(checkpoint.tensors, count)
        checkpoint = dataclasses.replace(checkpoint, tensors=dict(shaped))
    if count is not None and count != PUBLISHED:
        variant = with_mask_tokens(variant, count)
        changes.append(f"mask tokens: {count}, published with {PUBLISHED}")
    for change in changes:
        report(f"{variant.name}: {change}")
    return variant, dataclasses.replace(checkpoint, changes=tuple(changes))


def _adapters(checkpoint: Checkpoint) -> Adapters | None:
    try:
        return find_adapters(checkpoint.tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(str(checkpoint.path))} {error}") from None


def require_known(checkpoint: Checkpoint) -> None:
    """CheckpointError if a file has LoRA without its base, or LoRA or adapters of another kind."""
    require_base(checkpoint)
    _adapters(checkpoint)


def _with_lora(
    variant: Variant, checkpoint: Checkpoint, options: LoraOptions, changes: list[str]
) -> Checkpoint:
    own = fold_own(checkpoint, LoraOptions() if options.path else options)
    if own is not None:
        changes.append(own.said)
        checkpoint = dataclasses.replace(checkpoint, tensors=own.tensors)
    if options.path is None:
        if own is None and (options.alpha is not None or options.blocks):
            raise RequestError(
                f"{printable(str(checkpoint.path))} holds no LoRA: leave out --lora-alpha and "
                "--lora-blocks, or give the adapter with --lora"
            )
        return checkpoint
    adapter = read_adapter(options.path)
    folded = fold_adapter(variant, checkpoint, adapter, options)
    changes.append(folded.said)
    return dataclasses.replace(
        checkpoint,
        tensors=folded.tensors,
        adapter=adapter.path.name,
        adapter_sha256=adapter.sha256,
    )
