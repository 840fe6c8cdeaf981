"""`mask_decoder` of RAP-SAM: a point or a box in two slots to one mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from exporter.bundle.agreement import low_res_sides
from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.graphs.mask_decoder import masks
from exporter.models.rap_sam_head import CLICK
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.rap_sam import RapSam


class BoxDecoder(nn.Module):
    """Prompts and the feature map -> `low_res_masks` (B, 1, h, w), `iou_predictions` (B, 1).

    Prompts do not see each other, so B of them in a call are B calls.
    """

    def __init__(self, network: RapSam) -> None:
        super().__init__()
        self.mask_decoder = network.mask_decoder

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        resized_size: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict the mask of every prompt.

        Args:
            image_embeddings: (1, C, h, w), the encoder's.
            point_coords: (B, 2, 2) x, y in pixels of the input: a point and anything, or the
                corners of a box.
            point_labels: (B, 2) 1 and -2, or 2 and 3, whole numbers as floats.
            resized_size: (1, 2) width and height of the picture in the input, without padding.
        """
        first, second = point_coords[:, 0], point_coords[:, 1]
        is_box = (point_labels[:, :1] - 1.0).clamp(0.0, 1.0)
        reach = (1.0 - is_box) * CLICK
        low = first - reach
        high = is_box * second + (1.0 - is_box) * first + reach
        boxes = torch.cat([(low + high) * 0.5 / resized_size, (high - low) / resized_size], dim=1)
        found: tuple[Tensor, Tensor] = self.mask_decoder(image_embeddings, boxes)
        return found


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    if prompts is None:
        raise TypeError(f"{variant.name} has no prompt slots")
    batch, slots = prompts.batch, prompts.slots
    inputs = (
        *features(slots_of(variant)),
        TensorSpec("point_coords", (batch, slots, 2), "float32", "BN2"),
        TensorSpec("point_labels", (batch, slots), "float32", "BN"),
        TensorSpec("resized_size", (1, 2), "float32", "B2"),
    )
    outputs = masks(batch, 1, low_res_sides(variant.preprocess, variant.mask))
    spec = GraphSpec("mask_decoder", inputs, outputs, "prompt")
    return graph_of(spec, BoxDecoder(cast("RapSam", network)))
