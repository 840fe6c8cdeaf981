"""SAM's image encoder: a ViT with windowed and global blocks (Li et al. 2022, ViTDet).

Reference: facebookresearch/segment-anything, `modeling/image_encoder.py`; the tensor names are
those of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import (
    LayerNorm2d,
    linear_of,
    merge_heads,
    split_heads,
    window_merge,
    window_partition,
)


@dataclass(frozen=True)
class ViTSize:
    """Widths of a SAM ViT; the defaults are ViT-B's."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4
    out_width: int = 256
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Side of the feature map, in patches."""
        return self.image_size // self.patch


class RelPosAttention(nn.Module):
    """Attention on a square of tokens with decomposed relative positions.

    `rel_pos_h` and `rel_pos_w` hold one row for each distance q - k + side - 1; the rows each
    position needs are gathered once, in `freeze_tables`. The published code adds
    `q . row` (q not scaled) to the logits: two einsums over one axis each, then one bias of rank 4.

    `proj` is applied by the block, to the tokens that are left when the padding is cropped: the
    same numbers for a sixth fewer tokens.
    """

    rows: Tensor
    cols: Tensor

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        head = width // heads
        self.heads, self.side, self.head_width = heads, side, head
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, head))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, head))
        self.frozen = False

    def freeze_tables(self) -> None:
        """Gather (side, head, side) tables, axis 0 the query's place, axis 2 the key's; part qkv.

        q, k and v as three layers: no graph then splits their product.
        """
        if self.frozen:
            return
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        self.frozen_qkv = nn.ModuleList(linear_of(weight, bias) for weight, bias in parts)
        del self.qkv
        self.frozen = True
        axis = torch.arange(self.side)
        distance = axis[:, None] - axis[None, :] + self.side - 1
        for name, table in (("rows", self.rel_pos_h), ("cols", self.rel_pos_w)):
            gathered = table[distance].transpose(1, 2).contiguous()
            self.register_buffer(name, gathered, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, side**2, C) -> the same shape, not yet projected."""
        batch, tokens, _ = x.shape
        side = self.side
        q, k, v = (split_heads(layer(x), self.heads) for layer in self.frozen_qkv)
        square = q.reshape(batch * self.heads, side, side, self.head_width)
        by_row = torch.einsum("bhwc,hck->bhwk", square, self.rows)
        by_col = torch.einsum("bhwc,wck->bhwk", square, self.cols)
        by_row = by_row.reshape(batch * self.heads, tokens, side, 1)
        by_col = by_col.reshape(batch * self.heads, tokens, 1, side)
        bias = (by_row + by_col).reshape(batch, self.heads, tokens, tokens)
        return merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


class BlockMLP(nn.Module):
    """Two linear layers with GELU, named as published."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return out


class Block(nn.Module):
    """A transformer block; `window` is 0 for a global one."""

    def __init__(self, size: ViTSize, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(size.width, eps=size.eps)
        self.attn = RelPosAttention(size.width, size.heads, window or size.grid)
        self.norm2 = nn.LayerNorm(size.width, eps=size.eps)
        self.mlp = BlockMLP(size.width, size.width * size.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = x + self.attend(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attend(self, x: Tensor) -> Tensor:
        """Attention over windows or the whole. Padding comes after the norm, as published."""
        batch, height, width, channels = x.shape
        if not self.window:
            whole = self.attn.proj(self.attn(x.reshape(batch, height * width, channels)))
            return whole.reshape(batch, height, width, channels)
        below, right = -height % self.window, -width % self.window
        x = F.pad(x, (0, 0, 0, right, 0, below))
        windows = self.attn(window_partition(x, self.window))
        merged = window_merge(windows, self.window, batch, height + below, width + right)
        out: Tensor = self.attn.proj(merged[:, :height, :width])
        return out


class PatchEmbed(nn.Module):
    """Patches to tokens."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, H, W, C)."""
        return self.proj(x).permute(0, 2, 3, 1)


class ViT(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: ViTSize = ViTSize()) -> None:
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(size.width, size.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, size.grid, size.grid, size.width))
        self.blocks = nn.ModuleList(
            Block(size, 0 if i in size.global_blocks else size.window) for i in range(size.depth)
        )
        out = size.out_width
        self.neck = nn.Sequential(
            nn.Conv2d(size.width, out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, h, w)."""
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return out
