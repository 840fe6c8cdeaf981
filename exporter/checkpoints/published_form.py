"""The names and shapes that a changed network would have as published, to recognise it by.

What was added to a network or given another count is taken back here. The values are not those
that are exported: `exporter.checkpoints.adapt` builds the variant for the file as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.checkpoints.adapters import without_adapters
from exporter.checkpoints.lora import parse
from exporter.checkpoints.mask_tokens import with_published_tokens
from exporter.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def published_form(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors of the published names and shapes; the same ones if nothing was changed."""
    return with_published_tokens(without_adapters(_without_lora(tensors)))


def _without_lora(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    try:
        return parse(tensors).plain
    except CheckpointError:  # said when it is folded, or by what is left unused
        return tensors
