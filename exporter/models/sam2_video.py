"""SAM 2 with its memory: what its image path lacks to follow an object through a video.

Reference: facebookresearch/sam2, `sam2/modeling/sam2_base.py`; tensor names as published, but for
the two heads of the mask decoder (`exporter.variants.sam2_video`). `SamVideo` has the same memory
behind SAM's own decoder.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from exporter.models.layers import MLP
from exporter.models.mask_decoder import DecoderSize, MaskDecoder
from exporter.models.memory_attention import MemoryAttention
from exporter.models.memory_bank import BankEncoder, MemorySize
from exporter.models.memory_encoder import MemoryEncoder
from exporter.models.perceiver import Perceiver
from exporter.models.positions import sine_positions
from exporter.models.sam import SAM_DECODER, SAM_GEOMETRY, Geometry, Sam
from exporter.models.sam2 import Sam2, Sam2MaskDecoder

QUERY_POSITION = 0.1
"""Share of the position encoding that is added to the image's tokens."""


class VideoHeads(MaskDecoder):
    """A decoder that also says whether the object is seen, and points to it."""

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__(size, grid)
        self.pred_obj_score_head = MLP(size.width, size.width, 1, 3)
        self.obj_ptr_proj = MLP(size.width, size.width, size.width, 3)

    def heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, tokens, C) -> object score (B, 1), and a pointer for each mask (B, M, C)."""
        first = self.before_masks
        pointers = self.obj_ptr_proj(tokens[:, first : first + self.size.mask_tokens])
        return self.pred_obj_score_head(tokens[:, 0]), pointers


class VideoMaskDecoder(VideoHeads, Sam2MaskDecoder):
    """SAM 2's decoder with the heads; the score has a token of its own, the first."""


class SamVideoMaskDecoder(VideoHeads):
    """SAM's decoder with the heads; the score is read off the IoU token."""

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, ...]:
        """See `MaskDecoder`; object score and pointers follow."""
        tokens, image = self.transformer(tokens, image, image_pe, key_bias)
        masks = self.masks(image, self.mask_weights(tokens))
        return masks, self.iou(tokens), *self.heads(tokens)


class Remembering(nn.Module):
    """The parts that remember, for a network of an image path; see `add_memory`."""

    size: MemorySize
    image_encoder: nn.Module
    no_memory: Tensor
    start: Tensor
    bank: BankEncoder

    def add_memory(self, size: MemorySize) -> None:
        """Make the parts."""
        self.size = size
        self.memory_attention = MemoryAttention(size)
        self.memory_encoder = MemoryEncoder(size)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(size.times, 1, 1, size.memory_width))
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, size.width))
        self.mask_downsample = nn.Conv2d(1, 1, 4, stride=4)
        self.spatial_perceiver = (
            Perceiver(size.grid, size.latents, size.memory_width) if size.latents else None
        )
        self.obj_ptr_tpos_proj = (
            nn.Linear(size.width, size.memory_width) if size.pointer_time else None
        )
        self.no_obj_embed_spatial = (
            nn.Parameter(torch.zeros(1, size.memory_width)) if size.marks_absence else None
        )

    def without_memory(self) -> Tensor:
        """(C,): what `image_embeddings` have in them that a frame with memories lacks."""
        return torch.zeros(self.size.width)

    def freeze_tables(self) -> None:
        """Keep what the parts make of parameters, before the image encoder folds its own away."""
        no_memory = self.without_memory()
        start = QUERY_POSITION * sine_positions(self.size.grid, self.size.width) - no_memory
        self.register_buffer("no_memory", no_memory, persistent=False)
        self.register_buffer("start", start[None, None], persistent=False)
        self.memory_encoder.accept_embedding(no_memory)
        self.bank = BankEncoder(self.size, self.maskmem_tpos_enc, self.obj_ptr_tpos_proj)

    def query(self, image_embeddings: Tensor) -> Tensor:
        """(1, C, g, g) -> (1, 1, g * g, C): see `MemoryAttention.first`."""
        tokens = image_embeddings.reshape(1, 1, self.size.width, -1).transpose(2, 3)
        return self.memory_attention.first(tokens + self.start)

    def condition(
        self,
        query: Tensor,
        memories: Tensor,
        memory_age: Tensor,
        object_pointers: Tensor,
        pointer_age: Tensor,
    ) -> Tensor:
        """(1, 1, g * g, C) and a bank, see `BankEncoder` -> (1, C, g, g)."""
        bank = self.bank(memories, memory_age, object_pointers, pointer_age)
        tokens: Tensor = self.memory_attention(query, bank)
        grid = self.size.grid
        return tokens.transpose(2, 3).reshape(1, self.size.width, grid, grid)

    def remember(
        self,
        image_embeddings: Tensor,
        mask_logits: Tensor,
        from_prompt: Tensor,
        object_present: Tensor | None = None,
    ) -> Tensor:
        """Make a frame's memory.

        Args:
            image_embeddings: (1, C, g, g).
            mask_logits: (1, 1, 4 g, 4 g).
            from_prompt: (1,): 1 if the mask answers a prompt, else 0.
            object_present: (1,): 1 if the object is seen, else 0; None if no memory says so.

        Returns:
            (1, T, memory_width).
        """
        found: Tensor = self.memory_encoder(image_embeddings, mask_logits, from_prompt)
        if self.no_obj_embed_spatial is not None and object_present is not None:
            absent = (1.0 - object_present).reshape(1, 1, 1, 1)
            found = found + absent * self.no_obj_embed_spatial.reshape(1, -1, 1, 1)
        if self.spatial_perceiver is not None:
            condensed: Tensor = self.spatial_perceiver(found)
            return condensed
        return found.flatten(2).transpose(1, 2)


class Sam2Video(Remembering, Sam2):
    """SAM 2's image path, and the parts that remember."""

    def __init__(
        self, encoder: nn.Module, size: MemorySize, geometry: Geometry = SAM_GEOMETRY
    ) -> None:
        super().__init__(encoder, geometry)
        self.mask_decoder = VideoMaskDecoder(SAM_DECODER, geometry.grid)
        self.add_memory(size)

    def without_memory(self) -> Tensor:
        """See `Remembering`."""
        return cast("Tensor", self.image_encoder.no_mem_embed).flatten().clone()


class SamVideo(Remembering, Sam):
    """SAM's image path, and the parts that remember."""

    def __init__(
        self, encoder: nn.Module, size: MemorySize, geometry: Geometry, decoder: DecoderSize
    ) -> None:
        super().__init__(encoder, geometry, decoder)
        self.mask_decoder = SamVideoMaskDecoder(decoder, geometry.grid)
        self.add_memory(size)
