"""The published memory attention, operation for operation, on our modules' weights.

Lists of any length instead of slots, values projected to 256 channels, pairs of channels turned as
complex numbers. Source read for the order of operations: sam2 `modeling/memory_attention.py` and
`modeling/sam/transformer.py`; EdgeTAM's for memories of two squares. Pooled kinds are not here.
Build it from modules that are not frozen.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.memory_bank import memory_positions
from exporter.models.positions import TURN_BASE, sine_positions
from exporter.models.sam2_video import QUERY_POSITION, Sam2Video


class PublishedMemoryAttention(nn.Module):
    """A frame's features, memories and pointers -> features that know them.

    Args:
        sam: not frozen.
        ages: of the memories, whole numbers: 0 for the prompted one.
    """

    place: Tensor

    def __init__(self, sam: Sam2Video, ages: list[int]) -> None:
        super().__init__()
        self.size, self.attention = sam.size, sam.memory_attention
        self.no_memory = cast("Tensor", sam.image_encoder.no_mem_embed)
        rows = sam.maskmem_tpos_enc.flatten(1)
        times = torch.stack([rows[age - 1] for age in ages])  # the last for age 0
        place = (memory_positions(sam.size)[None] + times[:, None]).flatten(0, 1)
        self.register_buffer("place", place, persistent=False)
        start = QUERY_POSITION * sine_positions(sam.size.grid, sam.size.width)
        self.register_buffer("start", start, persistent=False)
        self.start: Tensor
        self.pointer_time = sam.obj_ptr_tpos_proj
        self.turns = _turns(sam.size.grid, sam.size.width)
        self.memory_turns = _turns(sam.size.latents or sam.size.grid, sam.size.width)

    def forward(
        self, image_embeddings: Tensor, memories: Tensor, object_pointers: Tensor
    ) -> Tensor:
        """(1, C, g, g), (1, n, T, 64), (1, m, C) -> (1, C, g, g); m pointers of ages 0 to 1."""
        size, grid = self.size, self.size.grid
        pointers = object_pointers.reshape(1, -1, size.memory_width)
        count = object_pointers.shape[1] * size.pointer_tokens
        memory = torch.cat([memories.flatten(1, 2), pointers], dim=1)
        aged = self._pointer_places(object_pointers.shape[1])
        place = torch.cat([self.place[None], aged], dim=1)
        x = image_embeddings.flatten(2).transpose(1, 2) - self.no_memory
        x = x + self.start
        for layer in cast("Any", self.attention.layers):
            x = x + self._around(layer.self_attn, layer.norm1(x))
            x = x + self._back(layer.cross_attn_image, layer.norm2(x), memory, place, count)
            x = x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))
        x = self.attention.norm(x)
        return x.transpose(1, 2).reshape(1, size.width, grid, grid)

    def _pointer_places(self, pointers: int) -> Tensor:
        """(1, 4 m, 64): zeros before SAM 2.1, which does not know how old a pointer is."""
        tokens = self.size.pointer_tokens
        if self.pointer_time is None:
            return torch.zeros(1, pointers * tokens, self.size.memory_width)
        half = self.size.width // 2
        exponents = 2 * torch.div(torch.arange(half), 2, rounding_mode="floor") / half
        ages = torch.linspace(0.0, 1.0, pointers)[:, None] / 10000.0**exponents
        waves = torch.cat([ages.sin(), ages.cos()], dim=-1)
        return self.pointer_time(waves).repeat_interleave(tokens, dim=0)[None]

    def _around(self, attn: Any, x: Tensor) -> Tensor:
        query, keys = _spin(attn.q_proj(x), self.turns), _spin(attn.k_proj(x), self.turns)
        return attn.out_proj(_attended(query, keys, attn.v_proj(x)))

    def _back(self, attn: Any, x: Tensor, memory: Tensor, place: Tensor, count: int) -> Tensor:
        keys = attn.k_proj(memory + place)
        turned = torch.cat([self._turned(keys[:, :-count]), keys[:, -count:]], dim=1)
        query = _spin(attn.q_proj(x), self.turns)
        return attn.out_proj(_attended(query, turned, attn.v_proj(memory)))

    def _turned(self, keys: Tensor) -> Tensor:
        """Turn each memory by its own grid; the first square of EdgeTAM's has none."""
        parts = keys.reshape(-1, self.size.tokens, keys.shape[-1])
        first = self.size.latents**2
        spun = torch.cat([parts[:, :first], _spin(parts[:, first:], self.memory_turns)], dim=1)
        return spun.reshape(keys.shape)


def _attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = query.unsqueeze(1), keys.unsqueeze(1), values.unsqueeze(1)
    return F.scaled_dot_product_attention(q, k, v).squeeze(1)


def _turns(grid: int, width: int) -> Tensor:
    """(grid * grid, width / 2) complex."""
    rates = 1.0 / TURN_BASE ** (torch.arange(0, width, 4)[: width // 4].float() / width)
    places = torch.arange(grid * grid)
    columns, rows = (places % grid).float(), torch.div(places, grid, rounding_mode="floor").float()
    angles = torch.cat([torch.outer(columns, rates), torch.outer(rows, rates)], dim=-1)
    return torch.polar(torch.ones_like(angles), angles)


def _spin(x: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)
