"""RepViT (Wang et al. 2023, arXiv 2307.09283) as RepViT-SAM and EdgeSAM use it.

References: THU-MIG/RepViT, `sam/repvit_sam/modeling/repvit.py`; chongzhou96/EdgeSAM,
`edge_sam/modeling/rep_vit.py`. Tensor names as in the published checkpoints, which hold the
training form: parallel depthwise branches and batch norms. `freeze_tables` folds them:

    x -> conv 3x3, BN -\
    x -> conv 1x1 (BN) -+-> sum (-> BN) -> y        becomes        x -> conv 3x3 -> y
    x -----------------/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import LayerNorm2d
from exporter.models.tiny_vit import ConvBN


@dataclass(frozen=True)
class RepViTSize:
    """Shape of a RepViT; the defaults are RepViT-SAM's (the widths of M2.3).

    Attributes:
        widths: channels of each stage.
        depths: blocks of each stage; from the second stage on, the first one widens and strides.
        strides: of the first block of stages 2, 3 and 4.
        norm_after_sum: whether the depthwise branches are normalised once more after their sum,
            with a 1x1 branch that has a bias (RepViT-SAM), or each on its own (EdgeSAM).
        out_width: channels of the image embedding.
    """

    widths: tuple[int, ...] = (80, 160, 320, 640)
    depths: tuple[int, ...] = (7, 8, 36, 3)
    strides: tuple[int, ...] = (2, 2, 1)
    norm_after_sum: bool = True
    out_width: int = 256


EDGE_SAM = RepViTSize(
    widths=(48, 96, 192, 384), depths=(3, 4, 16, 3), strides=(2, 2, 2), norm_after_sum=False
)
"""EdgeSAM's encoder: the widths of M1, stride 32 at its last stage."""


class RepDepthwise(nn.Module):
    """Depthwise 3x3, 1x1 and identity in parallel; one depthwise 3x3 once frozen."""

    def __init__(self, width: int, *, norm_after_sum: bool) -> None:
        super().__init__()
        self.width = width
        self.fused: nn.Conv2d | None = None
        self.conv = ConvBN(width, width, 3, groups=width)
        self.conv1: nn.Module
        self.bn: nn.Module
        if norm_after_sum:
            self.conv1 = nn.Conv2d(width, width, 1, groups=width)
            self.bn = nn.BatchNorm2d(width)
        else:
            self.conv1 = ConvBN(width, width, groups=width)
            self.bn = nn.Identity()

    def freeze_tables(self) -> None:
        """Fold the branches: the 1x1 and the identity meet the middle of the 3x3 kernel."""
        if self.fused is not None:
            return
        conv, conv1 = _without_norm(self.conv), _without_norm(self.conv1)
        fused = nn.Conv2d(self.width, self.width, 3, padding=1, groups=self.width)
        fused.weight = nn.Parameter(conv.weight + F.pad(conv1.weight + 1.0, (1, 1, 1, 1)))
        fused.bias = nn.Parameter(cast("Tensor", conv.bias) + cast("Tensor", conv1.bias))
        if isinstance(self.bn, nn.BatchNorm2d):
            fused = nn.utils.fuse_conv_bn_eval(fused.eval(), self.bn.eval())
        self.fused = fused
        del self.conv, self.conv1, self.bn

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if self.fused is not None:
            return self.fused(x)
        out: Tensor = self.bn(self.conv(x) + self.conv1(x) + x)
        return out


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from all channels' means (Hu et al. 2017).

    The inner width is a quarter, rounded to a multiple of 8. The mean is taken row by row, then of
    the rows: XNNPACK sums in order, and 65536 pixels at once cost 40 dB of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(8, (width // 4 + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(width, inner, 1)
        self.fc2 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        mean = x.mean(3, keepdim=True).mean(2, keepdim=True)
        gate = self.fc2(F.relu(self.fc1(mean)))
        return x * gate.sigmoid()


class ChannelMixer(nn.Module):
    """Two 1x1 convolutions with GELU, and the input added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.m = nn.Sequential(ConvBN(width, 2 * width), nn.GELU(), ConvBN(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x + self.m(x)


class Block(nn.Module):
    """Mix pixels of each channel, then channels of each pixel."""

    def __init__(self, token_mixer: nn.Sequential, width: int) -> None:
        super().__init__()
        self.token_mixer = token_mixer
        self.channel_mixer = ChannelMixer(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        return self.channel_mixer(self.token_mixer(x))


class Upsample2x(nn.Module):
    """Twice the height and width, bilinear or bicubic, with half-pixel centres.

    No target lowers bicubic well: Core ML not at all, TFLite to a hundred operations.
    It is linear and separable, so frozen it is one constant matrix for the columns and the same
    for the rows:

        resize(x)    becomes    table @ x @ table^T

    Args:
        side: of the square input, in cells.
        mode: `bilinear` or `bicubic`.
    """

    table: Tensor

    def __init__(self, side: int, mode: str) -> None:
        super().__init__()
        self.side, self.mode = side, mode
        self.frozen = False

    def freeze_tables(self) -> None:
        """Build the bicubic resize's (2 * side, side) matrix: its result for each unit vector."""
        if self.frozen or self.mode != "bicubic":
            return
        units = torch.eye(self.side)[None, None]
        rows = F.interpolate(units, (2 * self.side, self.side), mode=self.mode)
        self.register_buffer("table", rows[0, 0], persistent=False)
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, 2h, 2w)."""
        if not self.frozen:
            return F.interpolate(x, scale_factor=2, mode=self.mode)
        wide = F.linear(x, self.table)
        return F.linear(wide.transpose(2, 3), self.table).transpose(2, 3)


class RepViT(nn.Module):
    """Normalised image -> image embedding, from the last stage alone: RepViT-SAM's encoder."""

    def __init__(self, size: RepViTSize = RepViTSize()) -> None:
        super().__init__()
        self.size = size
        self.features = _features(size)
        self.neck = _neck(size.widths[-1], size.out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, h, w)."""
        for layer in self.features:
            x = layer(x)
        out: Tensor = self.neck(x)
        return out


class EdgeRepViT(nn.Module):
    """Normalised image -> image embedding, from the last two stages: EdgeSAM's encoder.

    Args:
        size: see `RepViTSize`.
        grid: side of the embedding, in cells.
        upsample: how the last stage is enlarged to it. The published predictor says `bicubic`, the
            published ONNX and Core ML files were made with `bilinear`.
    """

    def __init__(
        self, size: RepViTSize = EDGE_SAM, grid: int = 64, upsample: str = "bicubic"
    ) -> None:
        super().__init__()
        self.size = size
        self.features = _features(size)
        out = size.out_width
        self.fuse_stage2 = nn.Conv2d(size.widths[-2], out, 1, bias=False)
        last = nn.Conv2d(size.widths[-1], out, 1, bias=False)
        self.fuse_stage3 = nn.ModuleDict(
            {"op_list": nn.Sequential(last, Upsample2x(grid // 2, upsample))}
        )
        self.neck = _neck(out, out)

    def freeze_tables(self) -> None:
        """Fold the neck's first convolution into the two before it.

            N (A x + up(B y))    becomes    (N A) x + up((N B) y)

        All are 1x1 and without bias, and resizing mixes no channels, so they commute.
        """
        mix, last = self.neck[0], cast("nn.Sequential", self.fuse_stage3["op_list"])
        if not isinstance(mix, nn.Conv2d):
            return
        self.fuse_stage2 = _compose(mix, self.fuse_stage2)
        last[0] = _compose(mix, cast("nn.Conv2d", last[0]))
        self.neck[0] = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, h, w)."""
        before = len(self.features) - self.size.depths[-1]
        for layer in self.features[:before]:
            x = layer(x)
        wide = self.fuse_stage2(x)
        for layer in self.features[before:]:
            x = layer(x)
        out: Tensor = self.neck(wide + self.fuse_stage3["op_list"](x))
        return out


def _features(size: RepViTSize) -> nn.ModuleList:
    """List the patch embedding and every block in one list, as published."""
    first = size.widths[0]
    stem = nn.Sequential(ConvBN(3, first // 2, 3, 2), nn.GELU(), ConvBN(first // 2, first, 3, 2))
    blocks = _stage(size, first, size.depths[0])
    for index, stride in enumerate(size.strides, start=1):
        width = size.widths[index]
        blocks.append(_widen(size.widths[index - 1], width, stride))
        blocks += _stage(size, width, size.depths[index] - 1)
    return nn.ModuleList([stem, *blocks])


def _stage(size: RepViTSize, width: int, count: int) -> list[nn.Module]:
    """Blocks at one resolution. Every other one has a gate, but never the last."""
    return [
        Block(
            nn.Sequential(
                RepDepthwise(width, norm_after_sum=size.norm_after_sum),
                SqueezeExcite(width) if i % 2 == 0 and i < count - 1 else nn.Identity(),
            ),
            width,
        )
        for i in range(count)
    ]


def _widen(width: int, out: int, stride: int) -> Block:
    mixer = nn.Sequential(
        ConvBN(width, width, 3, stride, groups=width), nn.Identity(), ConvBN(width, out)
    )
    return Block(mixer, out)


def _neck(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, 1, bias=False),
        LayerNorm2d(out),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        LayerNorm2d(out),
    )


def _without_norm(layer: nn.Module) -> nn.Conv2d:
    """Make a branch one convolution with bias; fold its batch norm, if any."""
    if isinstance(layer, ConvBN):
        layer.freeze_tables()
        layer = layer.c
    return cast("nn.Conv2d", layer)


def _compose(after: nn.Conv2d, first: nn.Conv2d) -> nn.Conv2d:
    """Compose two 1x1 convolutions without bias: the product of their matrices."""
    conv = nn.Conv2d(first.in_channels, after.out_channels, 1, bias=False)
    product = after.weight.flatten(1) @ first.weight.flatten(1)
    conv.weight = nn.Parameter(product[..., None, None])
    return conv
