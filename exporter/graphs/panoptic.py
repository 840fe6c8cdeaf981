"""`panoptic`: everything in the picture with its class, off the encoder that prompts use."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from exporter.bundle.agreement import low_res_sides
from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.rap_sam import RapSam


class Panoptic(nn.Module):
    """`image_embeddings` (1, C, h, w) -> `panoptic_masks` (1, Q, h, w), `panoptic_scores`."""

    def __init__(self, network: RapSam) -> None:
        super().__init__()
        self.stages = network.mask_decoder.stages
        self.panoptic = network.panoptic

    def forward(self, image_embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; scores are (1, Q, classes + 1), the last of none of them."""
        found: tuple[Tensor, Tensor] = self.panoptic(image_embeddings, self.stages)
        return found


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    whole = cast("RapSam", network)
    low = low_res_sides(variant.preprocess, variant.mask)
    queries = whole.size.queries
    outputs = (
        TensorSpec("panoptic_masks", (1, queries, *low), "float32", "BQHW"),
        TensorSpec("panoptic_scores", (1, queries, whole.panoptic.classes), "float32", "BQK"),
    )
    spec = GraphSpec("panoptic", features(slots_of(variant)), outputs, "panoptic")
    return graph_of(spec, Panoptic(whole))
