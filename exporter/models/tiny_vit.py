"""TinyViT-5M as MobileSAM and TinySAM use it (Wu et al. 2022; Zhang et al. 2023).

Reference: ChaoningZhang/MobileSAM, `mobile_sam/modeling/tiny_vit_sam.py`; the tensor names are
those of the published checkpoints. Their `norm_head` and `head` (a classifier) take no part in SAM.
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
class TinyViTSize:
    """Widths of a TinyViT; the defaults are TinyViT-5M's at 1024 pixels.

    `merge_strides` holds the stride of the patch merging after each stage but the last. SAM's
    change to TinyViT is the last of them: 1, so that the encoder's total stride is 16.
    """

    image_size: int = 1024
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    merge_strides: tuple[int, ...] = (2, 2, 1)
    mlp_ratio: int = 4
    expand_ratio: int = 4
    out_width: int = 256

    def grids(self) -> tuple[int, ...]:
        """Side of each stage's feature map."""
        sides = [self.image_size // 4]
        for stride in self.merge_strides:
            sides.append(sides[-1] // stride)
        return tuple(sides)


class ConvBN(nn.Sequential):
    """Convolution without bias and batch norm, named `c` and `bn` as published."""

    c: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(cout))

    def freeze_tables(self) -> None:
        """conv -> batch norm becomes conv with bias: the same numbers, one operation less."""
        if len(self) == 1:
            return
        self.c = nn.utils.fuse_conv_bn_eval(self.c.eval(), self.bn.eval())
        del self.bn


class MBConv(nn.Module):
    """Inverted bottleneck of the first stage."""

    def __init__(self, width: int, expand: int) -> None:
        super().__init__()
        hidden = width * expand
        self.conv1 = ConvBN(width, hidden)
        self.conv2 = ConvBN(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvBN(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(self.conv3(y) + x)


class PatchMerging(nn.Module):
    """Widen, stride, mix: the step between two stages."""

    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(cin, cout)
        self.conv2 = ConvBN(cout, cout, 3, stride, groups=cout)
        self.conv3 = ConvBN(cout, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        out: Tensor = self.conv3(x)
        return out


class WindowAttention(nn.Module):
    """Attention inside one window, with a learnt bias for each distance |dy|, |dx|.

    `proj` is applied by the block, to the tokens that are left when the padding is cropped: the
    same numbers for a sixth fewer tokens.
    """

    bias: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.frozen = False

    def bias_table(self) -> Tensor:
        """(1, heads, window**2, window**2). A distance's index is |dy| * window + |dx|."""
        axis = torch.arange(self.window)
        rows = axis.repeat_interleave(self.window)
        cols = axis.repeat(self.window)
        dy = (rows[:, None] - rows[None, :]).abs()
        dx = (cols[:, None] - cols[None, :]).abs()
        return self.attention_biases[:, dy * self.window + dx].unsqueeze(0)

    def separate_qkv(self) -> list[tuple[Tensor, Tensor]]:
        """Weight and bias of q, of k and of v; the published rows are grouped by head instead."""
        width = self.qkv.in_features
        head = width // self.heads
        weight = self.qkv.weight.reshape(self.heads, 3, head, width)
        bias = self.qkv.bias.reshape(self.heads, 3, head)
        return [(weight[:, i].reshape(width, width), bias[:, i].reshape(width)) for i in range(3)]

    def freeze_tables(self) -> None:
        """Gather the bias and split qkv into three layers, so that no graph splits their product.

        The new layers own their weights: `qkv`'s may share the checkpoint's memory.
        """
        if self.frozen:
            return
        parts = [linear_of(weight, bias) for weight, bias in self.separate_qkv()]
        self.frozen_qkv = nn.ModuleList(parts)
        self.register_buffer("bias", self.bias_table().clone(), persistent=False)
        del self.qkv
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(windows, window**2, C) -> the same shape, not yet projected."""
        x = self.norm(x)
        if self.frozen:
            parts, bias = [layer(x) for layer in self.frozen_qkv], self.bias
        else:
            parts = [F.linear(x, weight, bias) for weight, bias in self.separate_qkv()]
            bias = self.bias_table()
        q, k, v = (split_heads(part, self.heads) for part in parts)
        return merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias))


class Mlp(nn.Module):
    """LayerNorm and two linear layers with GELU, named as published."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out


class TinyViTBlock(nn.Module):
    """Window attention, a depthwise convolution, an MLP."""

    def __init__(self, width: int, heads: int, window: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvBN(width, width, 3, groups=width)
        self.mlp = Mlp(width, width * mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        tokens = (tokens + self.attend(tokens)).permute(0, 3, 1, 2)
        tokens = self.local_conv(tokens).permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def attend(self, tokens: Tensor) -> Tensor:
        """Window attention. Padding comes before the norm and is attended to, as published."""
        batch, height, width, _ = tokens.shape
        below, right = -height % self.window, -width % self.window
        padded = F.pad(tokens, (0, 0, 0, right, 0, below)) if below or right else tokens
        windows = self.attn(window_partition(padded, self.window))
        merged = window_merge(windows, self.window, batch, height + below, width + right)
        out: Tensor = self.attn.proj(merged[:, :height, :width])
        return out


class Stage(nn.Module):
    """Blocks at one resolution and the merging that follows them."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W')."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """Two stride-2 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvBN(3, width // 2, 3, 2), nn.GELU(), ConvBN(width // 2, width, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, S / 4, S / 4)."""
        out: Tensor = self.seq(x)
        return out


class TinyViT(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: TinyViTSize = TinyViTSize()) -> None:
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(size.widths[0])
        self.layers = nn.ModuleList(_stage(size, index) for index in range(len(size.widths)))
        out = size.out_width
        self.neck = nn.Sequential(
            nn.Conv2d(size.widths[-1], out, 1, bias=False),
            LayerNorm2d(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, h, w)."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.neck(x)
        return out


def _stage(size: TinyViTSize, index: int) -> Stage:
    width = size.widths[index]
    if index == 0:
        blocks: list[nn.Module] = [MBConv(width, size.expand_ratio) for _ in range(size.depths[0])]
    else:
        blocks = [
            TinyViTBlock(width, size.heads[index], size.windows[index], size.mlp_ratio)
            for _ in range(size.depths[index])
        ]
    last = index == len(size.widths) - 1
    merging = (
        None if last else PatchMerging(width, size.widths[index + 1], size.merge_strides[index])
    )
    return Stage(blocks, merging)
