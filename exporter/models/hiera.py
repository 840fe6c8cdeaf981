"""Hiera (Ryali et al. 2023, arXiv 2306.00989) as SAM 2 uses it: SAM 2's image trunk.

Reference: facebookresearch/sam2, `sam2/modeling/backbones/hieradet.py`; tensor names as in the
published checkpoints. Windowed attention in four stages; the queries of the block after a stage's
end are max-pooled, which halves the map inside every window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import merge_heads, split_heads, window_merge, window_partition


@dataclass(frozen=True)
class HieraBlockSize:
    """Widths of one block.

    Attributes:
        window: side of the windows in cells of the block's input; 0 if it attends to everything.
        pool: whether the queries are max-pooled, 2 x 2.
    """

    width: int
    out_width: int
    heads: int
    window: int
    pool: bool


@dataclass(frozen=True)
class HieraSize:
    """Shape of a Hiera trunk; the defaults are Hiera-tiny's. Widths and heads double each stage.

    Attributes:
        depths: blocks of each stage.
        windows: side of each stage's windows, in its cells.
        global_blocks: indices of blocks that attend to everything, counted over all stages.
        background: side of the position embedding that is resized to the whole map.
    """

    width: int = 96
    heads: int = 1
    depths: tuple[int, ...] = (1, 2, 7, 2)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    windows: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 7
    image_size: int = 1024
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Side of the first stage's map, in cells."""
        return self.image_size // 4

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width * 2**stage for stage in range(len(self.depths)))

    @property
    def ends(self) -> tuple[int, ...]:
        """The last block of each stage."""
        return tuple(sum(self.depths[: i + 1]) - 1 for i in range(len(self.depths)))

    def blocks(self) -> Iterator[HieraBlockSize]:
        """List the blocks. A stage's first block still has the windows of the stage before it."""
        index = 0
        for stage, depth in enumerate(self.depths):
            for place in range(depth):
                pool = place == 0 and stage > 0
                before = stage - pool
                window = 0 if index in self.global_blocks else self.windows[before]
                heads = self.heads * 2**stage
                yield HieraBlockSize(self.widths[before], self.widths[stage], heads, window, pool)
                index += 1


def max_pool(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H / 2, W / 2, C): the largest of each 2 x 2."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class HieraAttention(nn.Module):
    """Attention over the tokens of a square; queries are max-pooled at the start of a stage."""

    def __init__(self, size: HieraBlockSize) -> None:
        super().__init__()
        self.heads, self.pool = size.heads, size.pool
        self.qkv = nn.Linear(size.width, 3 * size.out_width)
        self.proj = nn.Linear(size.out_width, size.out_width)

    def forward(self, x: Tensor, height: int, width: int) -> Tensor:
        """(B, height * width, C) -> (B, the same or a quarter of it, C')."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.pool:
            square = q.reshape(q.shape[0], height, width, q.shape[-1])
            q = max_pool(square).reshape(q.shape[0], height * width // 4, q.shape[-1])
        q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
        projected: Tensor = self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        return projected


class HieraMLP(nn.Module):
    """Two linear layers with GELU, named as published."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, width)])

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        first, second = self.layers
        out: Tensor = second(F.gelu(first(x)))
        return out


class HieraBlock(nn.Module):
    """Attention and MLP; a stage's first block widens and halves the map."""

    def __init__(self, size: HieraBlockSize, eps: float) -> None:
        super().__init__()
        self.size = size
        self.norm1 = nn.LayerNorm(size.width, eps=eps)
        self.attn = HieraAttention(size)
        self.norm2 = nn.LayerNorm(size.out_width, eps=eps)
        self.mlp = HieraMLP(size.out_width, 4 * size.out_width)
        if size.width != size.out_width:
            self.proj = nn.Linear(size.width, size.out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), or (B, H / 2, W / 2, 2 * C)."""
        normed = self.norm1(x)
        if self.size.width != self.size.out_width:
            x = self.proj(normed)
        if self.size.pool:
            x = max_pool(x)
        x = x + self.attend(normed)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attend(self, x: Tensor) -> Tensor:
        """Attention over windows or the whole. Padding comes after the norm, as published."""
        batch, height, width, channels = x.shape
        shrink, window = (2 if self.size.pool else 1), self.size.window
        if not window:
            whole: Tensor = self.attn(x.reshape(batch, height * width, channels), height, width)
            return whole.reshape(batch, height // shrink, width // shrink, -1)
        below, right = -height % window, -width % window
        x = F.pad(x, (0, 0, 0, right, 0, below))
        windows = self.attn(window_partition(x, window), window, window)
        padded = ((height + below) // shrink, (width + right) // shrink)
        merged = window_merge(windows, window // shrink, batch, *padded)
        return merged[:, : height // shrink, : width // shrink]


class HieraPatches(nn.Module):
    """Overlapping patches to tokens, a fourth of the image's side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S / 4, S / 4, C)."""
        return self.proj(x).permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """Normalised image -> the map of each stage."""

    def __init__(self, size: HieraSize = HieraSize()) -> None:
        super().__init__()
        self.size = size
        self.widths = size.widths
        side = size.windows[0]
        self.patch_embed = HieraPatches(size.width)
        background = (1, size.width, size.background, size.background)
        self.pos_embed = nn.Parameter(torch.zeros(background))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, size.width, side, side))
        self.blocks = nn.ModuleList(HieraBlock(block, size.eps) for block in size.blocks())
        self.frozen = False
        self.position: Tensor

    def positions(self) -> Tensor:
        """(1, grid, grid, C): one embedding over the whole map, another over every window."""
        grid = self.size.grid
        whole = F.interpolate(self.pos_embed, size=(grid, grid), mode="bicubic")
        times = grid // self.pos_embed_window.shape[-1]
        return (whole + self.pos_embed_window.tile(1, 1, times, times)).permute(0, 2, 3, 1)

    def freeze_tables(self) -> None:
        """Keep the position embedding at its full size: Core ML has no bicubic resize."""
        self.register_buffer("position", self.positions().contiguous(), persistent=False)
        self.frozen = True

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> (B, C, S / 4, S / 4), (B, 2 * C, S / 8, S / 8) ..."""
        x = self.patch_embed(x) + (self.position if self.frozen else self.positions())
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.size.ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps
