"""FastSAM3D's image encoder: a ViT over 16 x 16 x 16 patches of a volume (arXiv 2403.09827).

Reference: arcadelab/FastSAM3D at 226dfb5, `segment_anything/modeling/image_encoder3D.py` as its
`validation_student.py` builds it (depth 6, the first two blocks without attention, the class with
dense attention). As published, the norm before a block's MLP replaces the residual stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import linear_of, merge_heads, split_heads
from exporter.models.vit import BlockMLP
from exporter.models.volume_layers import Conv3x3x3, PatchConv3d

AXES = ("d", "h", "w")
"""The published letters of array axes 0, 1, 2 in the names of the relative positions."""


@dataclass(frozen=True)
class VolumeViTSize:
    """Widths of the encoder; the defaults are the published student's.

    Attributes:
        plain: blocks without attention, the first ones.
        volume_size: side of the cubic input, in voxels.
    """

    width: int = 768
    depth: int = 6
    plain: int = 2
    heads: int = 6
    volume_size: int = 128
    patch: int = 16
    mlp_ratio: int = 4
    out_width: int = 384
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Side of the embedding, in cells."""
        return self.volume_size // self.patch


class VolumeAttention(nn.Module):
    """Attention between all tokens, with relative positions along each of three axes.

    `rel_pos_d`, `rel_pos_h` and `rel_pos_w` have a row for each distance q - k + side - 1; the
    published code adds `q . row` (q not scaled) of all three tables to the logits.
    """

    d_rows: Tensor
    h_rows: Tensor
    w_rows: Tensor

    def __init__(self, size: VolumeViTSize) -> None:
        super().__init__()
        self.heads, self.side = size.heads, size.grid
        head = size.width // size.heads
        self.qkv = nn.Linear(size.width, 3 * size.width)
        self.proj = nn.Linear(size.width, size.width)
        for axis in AXES:
            table = nn.Parameter(torch.zeros(2 * size.grid - 1, head))
            self.register_parameter(f"rel_pos_{axis}", table)

    def freeze_tables(self) -> None:
        """Gather (side, head, side) tables, axis 0 the query's place, 2 the key's; split qkv."""
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        self.frozen_qkv = nn.ModuleList(linear_of(weight, bias) for weight, bias in parts)
        del self.qkv
        places = torch.arange(self.side)
        distance = places[:, None] - places[None, :] + self.side - 1
        for axis in AXES:
            gathered = self.get_parameter(f"rel_pos_{axis}")[distance].transpose(1, 2)
            self.register_buffer(f"{axis}_rows", gathered.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, side**3, C) -> the same shape."""
        q, k, v = (split_heads(layer(x), self.heads) for layer in self.frozen_qkv)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(q))
        out: Tensor = self.proj(merge_heads(mixed))
        return out

    def _bias(self, q: Tensor) -> Tensor:
        """(1, heads, n, c) queries -> (1, heads, n, n).

        As published, the three terms are lined up with the last axes, not with their own. With a
        query at (a, b, c) and a key at (d, e, f), they are
            q(a, b, c) . D[a - f] + q(a, b, d) . H[b - f] + q(a, b, e) . W[e - f].
        """
        heads, side = self.heads, self.side
        tokens, width = side**3, q.shape[-1]
        rows = q.reshape(heads * side, side, side, width)
        planes = q.reshape(heads, side, side * side, width)
        along_d = _by_rows(planes, self.d_rows)
        along_h = _by_rows(rows, self.h_rows)
        along_w = _by_rows(rows.transpose(1, 2), self.w_rows).transpose(1, 2)
        of_keys = along_h.reshape(-1, side, 1, side) + along_w.reshape(-1, 1, side, side)
        of_keys = of_keys.reshape(-1, 1, side * side, side)
        whole = of_keys + along_d.reshape(-1, side, 1, side)
        return whole.reshape(1, heads, tokens, tokens)


def _by_rows(queries: Tensor, rows: Tensor) -> Tensor:
    """(b, s, n, c) queries by the (s, c, k) rows of their place -> (b, s, n, k).

    One product of three axes: torch.einsum becomes transposes of five.
    """
    b, s, n, c = queries.shape
    products = queries.transpose(0, 1).reshape(s, b * n, c) @ rows
    return products.reshape(s, b, n, -1).transpose(0, 1)


class VolumeBlock(nn.Module):
    """A block; without attention it is a norm and an MLP."""

    def __init__(self, size: VolumeViTSize, *, attends: bool) -> None:
        super().__init__()
        self.attends = attends
        if attends:
            self.norm1 = nn.LayerNorm(size.width, eps=size.eps)
            self.attn = VolumeAttention(size)
        self.norm2 = nn.LayerNorm(size.width, eps=size.eps)
        self.mlp = BlockMLP(size.width, size.width * size.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(1, n, C) -> the same shape."""
        if self.attends:
            x = x + self.attn(self.norm1(x))
        x = self.norm2(x)  # as published: the norm is not inside a residual branch
        out: Tensor = x + self.mlp(x)
        return out


class PatchEmbed3d(nn.Module):
    """Holds the patches' convolution under its published name."""

    def __init__(self, size: VolumeViTSize) -> None:
        super().__init__()
        self.proj = PatchConv3d(size.width, size.patch)

    def forward(self, volume: Tensor) -> Tensor:
        """(1, S, S, S) -> (1, n, C), cells in the order of the array axes."""
        pictures: Tensor = self.proj(volume)
        return pictures.permute(0, 2, 3, 1).reshape(1, -1, pictures.shape[1])


class PointwiseConv3d(nn.Module):
    """A 1 x 1 x 1 convolution without bias, on tokens."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in, 1, 1, 1))

    def freeze_tables(self) -> None:
        """Make the linear layer."""
        weight = self.weight.flatten(1)
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.linear.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(1, n, Cin) -> (1, n, Cout)."""
        out: Tensor = self.linear(x)
        return out


class VolumeViT(nn.Module):
    """Normalised volume -> embedding."""

    def __init__(self, size: VolumeViTSize = VolumeViTSize()) -> None:
        super().__init__()
        self.size = size
        grid, width, out = size.grid, size.width, size.out_width
        self.patch_embed = PatchEmbed3d(size)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, width))
        self.blocks = nn.ModuleList(
            VolumeBlock(size, attends=index >= size.plain) for index in range(size.depth)
        )
        self.neck = nn.Sequential(
            PointwiseConv3d(width, out),
            nn.LayerNorm(out, eps=size.eps),
            Conv3x3x3(out, grid),
            nn.LayerNorm(out, eps=size.eps),
        )

    def freeze_tables(self) -> None:
        """Keep the positions as tokens."""
        positions = self.pos_embed.reshape(1, -1, self.size.width)
        self.register_buffer("positions", positions.clone(), persistent=False)
        self.positions: Tensor

    def forward(self, volume: Tensor) -> Tensor:
        """(1, S, S, S) -> (1, C, g * g, g): the first two axes of the embedding are one."""
        x = self.patch_embed(volume) + self.positions
        for block in self.blocks:
            x = block(x)
        project, norm, mix, last = self.neck
        grid, out = self.size.grid, self.size.out_width
        pictures = norm(project(x)).reshape(grid, grid, grid, out).permute(0, 3, 1, 2)
        mixed = last(mix(pictures).permute(0, 2, 3, 1).reshape(1, -1, out))
        return mixed.transpose(1, 2).reshape(1, out, grid * grid, grid)
