"""`image_side`: what the decoder's first layer makes of the image alone, once a picture.

Without a mask prompt the image's tokens are the same for every prompt until the first layer has
written into them, and so are the keys and values that it reads and the queries that it asks with:

    image_embeddings -> [image_side] -> image_tokens, image_keys, image_values, image_queries
                                                      -> [token_decoder], once a prompt
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import slots_of
from exporter.models.layers import split_heads
from exporter.models.mask_decoder import MaskDecoder, TwoWayBlock
from exporter.variants import Variant

if TYPE_CHECKING:
    from exporter.models.sam import Sam


class ImageSide(nn.Module):
    """`image_embeddings` (1, C, h, w) -> the four tensors of `shared`."""

    position: Tensor

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.no_mask = sam.prompt_encoder.no_mask_embed
        self.block = first_block(sam.mask_decoder)
        with torch.no_grad():
            position = sam.prompt_encoder.dense_position()
        self.register_buffer("position", position.clone(), persistent=False)

    def forward(self, image_embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the class."""
        tokens = image_embeddings.flatten(2).transpose(1, 2) + self.no_mask.weight
        placed = tokens + self.position
        reads = self.block.cross_attn_token_to_image
        asks = self.block.cross_attn_image_to_token
        keys = split_heads(reads.k_proj(placed), reads.heads).transpose(2, 3)
        values = split_heads(reads.v_proj(tokens), reads.heads)
        queries = split_heads(asks.q_proj(placed), asks.heads)
        return tokens, keys, values, queries


def first_block(decoder: MaskDecoder) -> TwoWayBlock:
    """Return the transformer's first layer."""
    return cast("TwoWayBlock", decoder.transformer.layers[0])


def shared(network: Sam, variant: Variant) -> tuple[TensorSpec, ...]:
    """List what prompts share: tokens (1, hw, C); keys (1, heads, d, hw), values, queries."""
    _, width, high, wide = slots_of(variant).embedding
    attention = first_block(network.mask_decoder).cross_attn_token_to_image
    heads = attention.heads
    inner = attention.k_proj.out_features // heads
    cells = high * wide
    return (
        TensorSpec("image_tokens", (1, cells, width), "float32", "BNC"),
        TensorSpec("image_keys", (1, heads, inner, cells), "float32", "BHDN"),
        TensorSpec("image_values", (1, heads, cells, inner), "float32", "BHND"),
        TensorSpec("image_queries", (1, heads, cells, inner), "float32", "BHND"),
    )


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    sam = cast("Sam", network)
    embedding = TensorSpec("image_embeddings", slots_of(variant).embedding, "float32", "NCHW")
    spec = GraphSpec("image_side", (embedding,), shared(sam, variant), "image")
    return graph_of(spec, ImageSide(sam))
