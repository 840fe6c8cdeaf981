"""SAM's image encoder: a ViT with windowed and global blocks (Li et al. 2022, ViTDet).

Reference: facebookresearch/segment-anything, `modeling/image_encoder.py`; tensor names as in the
published checkpoints. Pruned networks are the same with other widths, each block its own:
`ViTSize.blocks`, or `size_of` to read them off a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
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
class BlockSize:
    """Widths inside one block; the residual stream's width is the network's.

    Attributes:
        heads: of the attention.
        head: width of one head's queries, keys and values.
        mlp: hidden width.
        window: side of the windows in cells; 0 if the block attends to everything.
    """

    heads: int
    head: int
    mlp: int
    window: int


@dataclass(frozen=True)
class ViTSize:
    """Widths of a SAM ViT; the defaults are ViT-B's.

    Attributes:
        blocks: one for each block, if they are not ViT-like; `depth`, `heads`, `global_blocks`,
            `window` and `mlp_ratio` are then ignored.
        split_qkv: whether queries, keys and values are three linear layers `q`, `k`, `v` instead
            of one `qkv`, as in SlimSAM's training code.
    """

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
    blocks: tuple[BlockSize, ...] = ()
    split_qkv: bool = False

    @property
    def grid(self) -> int:
        """Side of the feature map, in patches."""
        return self.image_size // self.patch

    def block_sizes(self) -> tuple[BlockSize, ...]:
        """Sizes of every block: as given, or all alike except for their windows."""
        if self.blocks:
            return self.blocks
        head, mlp = self.width // self.heads, self.width * self.mlp_ratio
        windows = [0 if i in self.global_blocks else self.window for i in range(self.depth)]
        return tuple(BlockSize(self.heads, head, mlp, window) for window in windows)


SIZES = {
    "B": ViTSize(),
    "L": ViTSize(1024, 24, 16, (5, 11, 17, 23)),
    "H": ViTSize(1280, 32, 16, (7, 15, 23, 31)),
}
"""ViT-B, ViT-L and ViT-H of segment-anything (`segment_anything/build_sam.py`)."""


LARGEST = BlockSize(heads=16, head=80, mlp=5120, window=96)
"""ViT-H's widths, and the grid of 1536 pixels. No pruned SAM exceeds them, so a file cannot ask for
unlimited memory."""
MOST_BLOCKS = 32


def size_of(shapes: Mapping[str, tuple[int, ...]]) -> ViTSize | None:
    """Read the size of a pruned or searched SAM ViT off its tensors' shapes.

    A relative-position table has one row for each distance, so 2 * side - 1 rows tell a block's
    window, and its columns the width of a head; the number of heads follows. The position table has
    a row for each patch.

    Args:
        shapes: of the encoder's tensors by our names, without `image_encoder.`.

    Returns:
        None if the shapes are no SAM ViT's, or larger than ViT-H's.
    """
    width = (*shapes.get("patch_embed.proj.weight", ()), 0)[0]
    depth = 0
    while f"blocks.{depth}.norm1.weight" in shapes:
        depth += 1
    grid = (*shapes.get("pos_embed", ()), 0, 0)[1]
    blocks = [_block_size_of(shapes, f"blocks.{index}", grid) for index in range(depth)]
    known = tuple(block for block in blocks if block is not None)
    most = LARGEST.heads * LARGEST.head
    small = 1 <= width <= most and 1 <= depth <= MOST_BLOCKS and 1 <= grid <= LARGEST.window
    if not small or len(known) < depth:
        return None
    side = grid * ViTSize.patch
    split = "blocks.0.attn.q.weight" in shapes
    return ViTSize(width, image_size=side, blocks=known, split_qkv=split)


def _block_size_of(
    shapes: Mapping[str, tuple[int, ...]], block: str, grid: int
) -> BlockSize | None:
    rows, head = _sides(shapes, f"{block}.attn.rel_pos_h")
    qkv, _ = _sides(shapes, f"{block}.attn.qkv.weight")
    inner = qkv // 3 or _sides(shapes, f"{block}.attn.q.weight")[0]
    mlp, _ = _sides(shapes, f"{block}.mlp.lin1.weight")
    side, heads = (rows + 1) // 2, inner // max(head, 1)
    found = BlockSize(heads, head, mlp, 0 if side == grid else side)
    sound = 1 <= side <= grid and heads >= 1 and head >= 1 and mlp >= 1
    small = heads <= LARGEST.heads and head <= LARGEST.head and mlp <= LARGEST.mlp
    return found if sound and small else None


def _sides(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[int, int]:
    """Sides of a matrix; zeros if there is none of that name."""
    shape = shapes.get(name, ())
    return (shape[0], shape[1]) if len(shape) == 2 else (0, 0)


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

    def __init__(self, width: int, block: BlockSize, side: int, *, split: bool = False) -> None:
        super().__init__()
        heads, head = block.heads, block.head
        self.heads, self.side, self.head_width, self.split = heads, side, head, split
        if split:
            self.q, self.k, self.v = (nn.Linear(width, heads * head) for _ in range(3))
        else:
            self.qkv = nn.Linear(width, 3 * heads * head)
        self.proj = nn.Linear(heads * head, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, head))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, head))
        self.frozen = False

    def freeze_tables(self) -> None:
        """Gather (side, head, side) tables, axis 0 the query's place, axis 2 the key's; split qkv.

        With q, k and v as three layers, no graph splits their product.
        """
        if self.frozen:
            return
        if self.split:
            self.frozen_qkv = nn.ModuleList([self.q, self.k, self.v])
            del self.q, self.k, self.v
        else:
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

    def __init__(self, size: ViTSize, block: BlockSize) -> None:
        super().__init__()
        self.window = block.window
        side = block.window or size.grid
        self.norm1 = nn.LayerNorm(size.width, eps=size.eps)
        self.attn = RelPosAttention(size.width, block, side, split=size.split_qkv)
        self.norm2 = nn.LayerNorm(size.width, eps=size.eps)
        self.mlp = BlockMLP(size.width, block.mlp)

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
        self.blocks = nn.ModuleList(Block(size, block) for block in size.block_sizes())
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
