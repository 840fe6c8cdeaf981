"""The demo's network through several frames of several objects at once, as training needs it.

The exported modules follow one object with slots that may be empty, and have forms that lower well.
Here the bank is a list and attention is the published one; a test holds both against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from exporter.demo import network
from exporter.models.memory_attention import MemoryLayer, Projections
from exporter.models.memory_bank import memory_positions
from exporter.models.positions import sine_positions, turn, turns
from exporter.models.sam2_video import QUERY_POSITION, SamVideo

ABSENT = -1024.0
"""Logits of an object that is not seen."""


@dataclass(frozen=True)
class Decoded:
    """Of B objects: logits (B, M, 96, 96), IoU (B, M), score (B, 1), pointers (B, M, C)."""

    masks: Tensor
    iou: Tensor
    score: Tensor
    pointers: Tensor


@dataclass
class Remembered:
    """Of every frame so far, oldest first: memories (B, T, C) and pointers (B, C)."""

    memories: list[Tensor]
    pointers: list[Tensor]


class Unrolled(nn.Module):
    """The batched computations; the weights are the network's own.

    Args:
        sam: not frozen.
    """

    start: Tensor
    places: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, sam: SamVideo) -> None:
        super().__init__()
        self.sam, size = sam, sam.size
        cos, sin = turns(size.grid, size.width)
        for name, table in (
            ("start", QUERY_POSITION * sine_positions(size.grid, size.width)),
            ("places", memory_positions(size)),
            ("cos", cos),
            ("sin", sin),
        ):
            self.register_buffer(name, table.clone(), persistent=False)

    def condition(self, embedding: Tensor, kept: Remembered) -> Tensor:
        """(B, C, g, g) and what is kept of the frames before -> (B, C, g, g)."""
        back, size = network.FRAMES_BACK, self.sam.size
        count = len(kept.memories)
        frames = [0, *range(max(1, count - back), count)]
        ages = [0, *(count - frame for frame in frames[1:])]
        rows = self.sam.maskmem_tpos_enc.flatten(1)
        memories = torch.cat([kept.memories[frame] for frame in frames], dim=1)
        places = torch.cat([self.places + rows[age - 1] for age in ages])
        near = [0, *range(max(1, count - network.POINTERS_BACK), count)]
        pointers = torch.stack([kept.pointers[frame] for frame in near], dim=1)
        pointers = pointers.reshape(len(embedding), -1, size.memory_width)
        x = embedding.flatten(2).transpose(1, 2) + self.start
        attention = self.sam.memory_attention
        for layer in cast("Sequence[MemoryLayer]", attention.layers):
            x = x + self._around(layer.self_attn, layer.norm1(x))
            back_to = layer.cross_attn_image
            x = x + self._back(back_to, layer.norm2(x), (memories, places, pointers))
            x = x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))
        return attention.norm(x).transpose(1, 2).reshape(embedding.shape)

    def _around(self, attn: Projections, x: Tensor) -> Tensor:
        query, keys = self._turned(attn.q_proj(x)), self._turned(attn.k_proj(x))
        return attn.out_proj(_attended(query, keys, attn.v_proj(x)))

    def _back(self, attn: Projections, x: Tensor, bank: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        memories, places, pointers = bank
        keys = torch.cat(
            [self._turned(attn.k_proj(memories + places)), attn.k_proj(pointers)], dim=1
        )
        values = attn.v_proj(torch.cat([memories, pointers], dim=1))
        return attn.out_proj(_attended(self._turned(attn.q_proj(x)), keys, values))

    def _turned(self, x: Tensor) -> Tensor:
        """Turn (B, frames * T, C) by the places in each frame."""
        cells = x.reshape(len(x), -1, *self.cos.shape[:1], x.shape[-1])
        halves = turn((cells[..., 0::2], cells[..., 1::2]), self.cos, self.sin)
        return torch.cat(halves, dim=-1).reshape(x.shape)

    def decode(self, embedding: Tensor, coords: Tensor, labels: Tensor) -> Decoded:
        """Decode (B, C, g, g) with a prompt set each, and no earlier mask."""
        encoder, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        prompts, empty = encoder(coords, labels)
        output = decoder.output_tokens(len(coords))
        tokens = torch.cat([output, prompts], dim=1)
        bias = torch.cat([torch.zeros(output.shape[:2]), empty], dim=1)[:, None, None]
        image = embedding.flatten(2).transpose(1, 2) + encoder.no_mask_embed.weight
        # Measured: with heads of 8 channels the plain attention is faster than the fused one.
        with sdpa_kernel(SDPBackend.MATH):
            return Decoded(*decoder(image, encoder.dense_position(), tokens, bias))

    def remember(
        self, kept: Remembered, embedding: Tensor, decoded: Decoded, present: Tensor
    ) -> None:
        """Keep a frame. No gradient goes back through its mask.

        Args:
            kept: of the frames before; it grows.
            embedding: (B, C, g, g).
            decoded: the frame's.
            present: (B,) 1 if the object is taken for seen, else 0.
        """
        sam, first = self.sam, not kept.memories
        rows, token = torch.arange(len(embedding)), chosen(decoded)
        seen = present[:, None, None, None] > 0
        logits = torch.where(seen, decoded.masks.detach()[rows, token][:, None], ABSENT)
        found = sam.memory_encoder(embedding, logits, torch.full((1,), float(first)))
        absent = (1 - present)[:, None, None, None]
        found = found + absent * cast("Tensor", sam.no_obj_embed_spatial)[..., None, None]
        kept.memories.append(found.flatten(2).transpose(1, 2))
        pointers = decoded.pointers[rows, token]
        kept.pointers.append(torch.where(present[:, None] > 0, pointers, sam.no_obj_ptr))


def chosen(decoded: Decoded) -> Tensor:
    """(B,): the token of the answer, as `VideoRule` says for one click or none."""
    return 1 + decoded.iou.detach()[:, 1:].argmax(dim=1)


def _attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    out: Tensor = F.scaled_dot_product_attention(query[:, None], keys[:, None], values[:, None])
    return out[:, 0]


def initialise(sam: Any) -> None:
    """Set first weights of the memory, in place, from which a short training learns at once.

    A memory begins as a projection of the frame's features with the mask added, and keys as that
    projection taken back: a place looks at memories of places like it, before anything is learnt.
    """
    encoder, width = sam.memory_encoder, sam.size.width
    with torch.no_grad():
        encoder.pix_feat_proj.weight.copy_(torch.eye(width)[..., None, None])
        nn.init.zeros_(encoder.pix_feat_proj.bias)
        nn.init.orthogonal_(encoder.out_proj.weight.view(sam.size.memory_width, width))
        out = encoder.out_proj.weight.flatten(1)
        for layer in sam.memory_attention.layers:
            attn = layer.cross_attn_image
            attn.k_proj.weight.copy_(2.0 * attn.q_proj.weight @ out.t())
        last = sam.image_encoder.neck[3]
        sam.memory_attention.norm.weight.copy_(last.weight)
        sam.memory_attention.norm.bias.copy_(last.bias)
        for table in (sam.maskmem_tpos_enc, sam.no_obj_ptr, sam.no_obj_embed_spatial):
            nn.init.trunc_normal_(table, std=0.02)
        # A mask that is given as the prompt becomes its own logits, plus and minus 10.
        sam.mask_downsample.weight.fill_(20 / 16)
        sam.mask_downsample.bias.fill_(-10.0)
