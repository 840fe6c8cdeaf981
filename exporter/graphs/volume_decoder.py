"""`mask_decoder` of a volume: voxels in static slots, and the encoder's output, to masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.graphs.mask_decoder import MaskDecoder
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    if prompts is None:
        raise TypeError(f"{variant.name} has no prompt slots")
    spec = _spec(variant, prompts)
    names = tuple(tensor.name for tensor in spec.inputs)
    return graph_of(spec, MaskDecoder(cast("Sam", network), names, prompts.batch))


def _spec(variant: Variant, prompts: PromptRule) -> GraphSpec:
    """The graph of `exporter.graphs.mask_decoder`, with a third coordinate and volumes as masks."""
    rule, low = slots_of(variant), variant.mask.low_res_size
    batch, slots = prompts.batch, prompts.slots
    cells = (low * low, low)
    inputs = (
        *features(rule),
        TensorSpec("point_coords", (batch, slots, 3), "float32", "BN3"),
        TensorSpec("point_labels", (batch, slots), "float32", "BN"),
        TensorSpec("mask_input", (batch, 1, *cells), "float32", "NCHW"),
        TensorSpec("has_mask_input", (batch,), "float32", "B"),
    )
    outputs = (
        TensorSpec("low_res_masks", (batch, rule.mask_tokens, *cells), "float32", "BMHW"),
        TensorSpec("iou_predictions", (batch, rule.mask_tokens), "float32", "BM"),
    )
    return GraphSpec("mask_decoder", inputs, outputs, "prompt")
