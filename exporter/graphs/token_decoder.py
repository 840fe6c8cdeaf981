"""`token_decoder`: prompts to predicted IoUs, and what their masks are made of.

The mask decoder up to its IoU head. `mask_head` makes the masks of those prompts that a caller
wants after it has seen the IoUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import slots_of
from exporter.graphs.image_side import first_block, shared
from exporter.models import absorbed_attention
from exporter.models.mask_decoder import TwoWayBlock
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam


class TokenDecoder(nn.Module):
    """Prompts and the image side -> `iou_predictions`, `mask_weights`, `decoded_image`.

    Slots are those of `exporter.graphs.mask_decoder.MaskDecoder`, and so are the numbers.
    """

    position: Tensor
    output_tokens: Tensor
    output_bias: Tensor

    def __init__(self, sam: Sam, batch: int) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = sam.prompt_encoder, sam.mask_decoder
        with torch.no_grad():
            tokens = sam.mask_decoder.output_tokens(batch)
            position = sam.prompt_encoder.dense_position()
        self.register_buffer("output_tokens", tokens.clone(), persistent=False)
        self.register_buffer("position", position.clone(), persistent=False)
        self.register_buffer("output_bias", torch.zeros(batch, tokens.shape[1]), persistent=False)

    def forward(
        self,
        point_coords: Tensor,
        point_labels: Tensor,
        image_tokens: Tensor,
        image_keys: Tensor,
        image_values: Tensor,
        image_queries: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode prompts up to their IoUs.

        Args:
            point_coords: (B, N, 2) x, y in pixels of the S x S input.
            point_labels: (B, N), as `exporter.graphs.mask_decoder` has them.
            image_tokens: (1, hw, C), as the next three of `exporter.graphs.image_side`.
            image_keys: (1, heads, d, hw).
            image_values: (1, heads, hw, d).
            image_queries: (1, heads, hw, d).

        Returns:
            `iou_predictions` (B, M), `mask_weights` (B, C / 8, M), `decoded_image` (B, hw, C).
        """
        prompts, empty_bias = self.prompt_encoder(point_coords, point_labels)
        position = torch.cat([self.output_tokens, prompts], dim=1)
        key_bias = torch.cat([self.output_bias, empty_bias], dim=1).unsqueeze(1).unsqueeze(1)
        block = first_block(self.mask_decoder)
        tokens = block.norm1(block.mix_tokens(position, position, key_bias))
        read = _read_image(block, tokens + position, image_keys, image_values)
        tokens = block.norm2(tokens + read)
        tokens = block.norm3(tokens + block.mlp(tokens))
        told = _tell_image(block, image_queries, tokens + position, tokens, key_bias)
        image = block.norm_image(image_tokens + told)
        tokens, image = self.mask_decoder.transformer.after_first(
            tokens, image, position, self.position, key_bias
        )
        decoder = self.mask_decoder
        return decoder.iou(tokens), decoder.mask_weights(tokens), image


def _read_image(block: TwoWayBlock, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Tokens (B, T, C) to image, whose keys and values are there."""
    attention = block.cross_attn_token_to_image
    batch, count, _ = tokens.shape
    q = (attention.q_proj(tokens) * attention.scale).reshape(batch, count, attention.heads, -1)
    weights = (q.transpose(1, 2) @ keys).softmax(dim=-1)
    mixed = (weights @ values).transpose(1, 2).reshape(batch, count, -1)
    out: Tensor = attention.out_proj(mixed)
    return out


def _tell_image(
    block: TwoWayBlock, queries: Tensor, keys: Tensor, values: Tensor, key_bias: Tensor
) -> Tensor:
    """Image, whose queries are there, to tokens: (B, hw, C)."""
    attention = block.cross_attn_image_to_token
    batch, count, _ = keys.shape
    k = (attention.k_proj(keys) * attention.scale).reshape(batch, count, attention.heads, -1)
    weights = (queries @ k.permute(0, 2, 3, 1) + key_bias).softmax(dim=-1)
    weights = weights.transpose(1, 2).reshape(batch, queries.shape[2], attention.heads * count)
    return weights @ absorbed_attention.told(attention, values) + attention.out_proj.bias


def made(network: Sam, variant: Variant, batch: int) -> tuple[TensorSpec, TensorSpec]:
    """List what `mask_head` makes masks of."""
    slots = slots_of(variant)
    _, width, high, wide = slots.embedding
    return (
        TensorSpec("mask_weights", (batch, width // 8, slots.mask_tokens), "float32", "BCM"),
        TensorSpec("decoded_image", (batch, high * wide, width), "float32", "BNC"),
    )


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    if prompts is None:
        raise TypeError(f"{variant.name} has no prompt slots")
    sam, batch, slots = cast("Sam", network), prompts.batch, prompts.slots
    inputs = (
        TensorSpec("point_coords", (batch, slots, 2), "float32", "BN2"),
        TensorSpec("point_labels", (batch, slots), "float32", "BN"),
        *shared(sam, variant),
    )
    tokens = slots_of(variant).mask_tokens
    iou = TensorSpec("iou_predictions", (batch, tokens), "float32", "BM")
    spec = GraphSpec("token_decoder", inputs, (iou, *made(sam, variant, batch)), "prompt")
    return graph_of(spec, TokenDecoder(sam, batch))
