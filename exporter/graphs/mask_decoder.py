"""`mask_decoder`: prompts in static slots, and the encoder's outputs, to masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam

HIGH_RES = "high_res_feats_"


class MaskDecoder(nn.Module):
    """Prompts and the encoder's outputs -> `low_res_masks`, `iou_predictions`.

    Static in B and N. A slot with label -2 is left out of every attention as a key; as a query it
    only computes values that nothing reads. So the outputs equal the published code's, called with
    the real prompts alone.

    Args:
        sam: the whole network; its image encoder takes no part.
        inputs: the graph's input names, in order.
        batch: prompt sets in one call (B).
    """

    dense_position: Tensor
    output_tokens: Tensor
    output_bias: Tensor

    def __init__(self, sam: Sam, inputs: tuple[str, ...], batch: int) -> None:
        super().__init__()
        self.prompt_encoder = sam.prompt_encoder
        self.mask_decoder = sam.mask_decoder
        self.inputs = inputs
        self.batch = batch
        with torch.no_grad():
            tokens = sam.mask_decoder.output_tokens(batch)
            self.register_buffer("output_tokens", tokens.clone(), persistent=False)
            position = sam.prompt_encoder.dense_position()
            self.register_buffer("dense_position", position.clone(), persistent=False)
        self.register_buffer("output_bias", torch.zeros(batch, tokens.shape[1]), persistent=False)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Call `decode` with inputs in the order of the graph's spec."""
        named = dict(zip(self.inputs, inputs, strict=True))
        high_res = [named.pop(name) for name in self.inputs if name.startswith(HIGH_RES)]
        return self.decode(high_res, **named)

    def decode(
        self,
        high_res: list[Tensor],
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor | None = None,
        has_mask_input: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Predict every mask token's mask.

        Args:
            high_res: the encoder's other outputs.
            image_embeddings: (1, C, h, w), the encoder's.
            point_coords: (B, N, 2) x, y in pixels of the S x S input.
            point_labels: (B, N) 1, 0, 2, 3, -1 or -2, whole numbers as floats.
            mask_input: (B, 1, 4h, 4w) a previous `low_res_masks`, or zeros; None for a network
                that takes none and has no dense prompt at all.
            has_mask_input: (B,) 1 or 0; None if `mask_input` is.

        Returns:
            `low_res_masks` (B, M, 4h, 4w), logits, and `iou_predictions` (B, M); of a network with
            a memory also `object_score_logits` (B, 1) and `object_pointers` (B, M, C).
        """
        prompts, empty_bias = self.prompt_encoder(point_coords, point_labels)
        tokens = torch.cat([self.output_tokens, prompts], dim=1)
        key_bias = torch.cat([self.output_bias, empty_bias], dim=1).unsqueeze(1).unsqueeze(1)
        if mask_input is None or has_mask_input is None:
            # Split and joined: TFLite's converter takes a plain transpose for the weights of a
            # fully connected layer, and XNNPACK does not run one with computed weights.
            halves = (half.flatten(2).transpose(1, 2) for half in image_embeddings.chunk(2, dim=2))
            image = torch.cat([torch.cat(tuple(halves), dim=1)] * self.batch, dim=0)
        else:
            image = image_embeddings.flatten(2).transpose(1, 2)
            image = image + self.prompt_encoder.dense(mask_input, has_mask_input)
        found: tuple[Tensor, ...] = self.mask_decoder(
            image, self.dense_position, tokens, key_bias, *high_res
        )
        return found


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    if prompts is None:
        raise TypeError(f"{variant.name} has no prompt slots")
    spec = _spec(variant, prompts)
    names = tuple(tensor.name for tensor in spec.inputs)
    return graph_of(spec, MaskDecoder(cast("Sam", network), names, prompts.batch))


def _spec(variant: Variant, prompts: PromptRule) -> GraphSpec:
    rule, low = slots_of(variant), variant.mask.low_res_size
    batch, slots = prompts.batch, prompts.slots
    inputs = [
        *features(rule),
        TensorSpec("point_coords", (batch, slots, 2), "float32", "BN2"),
        TensorSpec("point_labels", (batch, slots), "float32", "BN"),
    ]
    if rule.takes_mask:
        inputs += [
            TensorSpec("mask_input", (batch, 1, low, low), "float32", "NCHW"),
            TensorSpec("has_mask_input", (batch,), "float32", "B"),
        ]
    outputs = masks(batch, rule.mask_tokens, (low, low))
    if variant.video is not None:
        outputs += pointers(batch, rule.mask_tokens, variant.video.pointer_width)
    return GraphSpec("mask_decoder", tuple(inputs), outputs, "prompt")


def masks(batch: int, tokens: int, low: tuple[int, int]) -> tuple[TensorSpec, ...]:
    """Specs of the outputs of a graph that answers prompts; `low` is a mask's height and width."""
    return (
        TensorSpec("low_res_masks", (batch, tokens, *low), "float32", "BMHW"),
        TensorSpec("iou_predictions", (batch, tokens), "float32", "BM"),
    )


def pointers(batch: int, tokens: int, width: int) -> tuple[TensorSpec, ...]:
    """Specs of what a decoder says besides, of a network with a memory."""
    return (
        TensorSpec("object_score_logits", (batch, 1), "float32", "B1"),
        TensorSpec("object_pointers", (batch, tokens, width), "float32", "BMC"),
    )
