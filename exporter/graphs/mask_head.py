"""`mask_head`: the masks of a prompt whose predicted IoUs a caller has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.graphs.mask_decoder import masks
from exporter.graphs.token_decoder import made
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam


class MaskHead(nn.Module):
    """`mask_weights`, `decoded_image` and the encoder's finer maps -> `low_res_masks`."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.mask_decoder = sam.mask_decoder

    def forward(self, mask_weights: Tensor, decoded_image: Tensor, *high_res: Tensor) -> Tensor:
        """(B, C / 8, M), (B, hw, C) -> (B, M, 4h, 4w)."""
        return self.mask_decoder.masks(decoded_image, mask_weights, *high_res)


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    if prompts is None:
        raise TypeError(f"{variant.name} has no prompt slots")
    sam, slots = cast("Sam", network), slots_of(variant)
    finer = features(slots)[1:]
    inputs = (*made(sam, variant, prompts.batch), *finer)
    low_res = masks(prompts.batch, slots.mask_tokens, (variant.mask.low_res_size,) * 2)[:1]
    return graph_of(GraphSpec("mask_head", inputs, low_res, "prompt"), MaskHead(sam))
