"""EfficientViT-SAM's image encoder (Zhang et al. 2024, arXiv 2402.05008; Cai et al. 2023).

Reference: mit-han-lab/efficientvit, `models/efficientvit/backbone.py` and `sam.py`, `models/nn/`;
tensor names as in the published checkpoints. Convolutions at the higher resolutions,
ReLU linear attention at the lowest, and a neck that adds three resolutions at 64 x 64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.efficientvit_blocks import (
    EPS,
    AttentionBlock,
    Bicubic,
    ConvNorm,
    FusedMBConv,
    MBConv,
    ResBlock,
    Residual,
)
from exporter.models.layers import LayerNorm2d


@dataclass(frozen=True)
class EfficientViTSize:
    """Widths of an EfficientViT-SAM encoder; the defaults are L0's.

    A stage is named after its blocks: `res` two 3 x 3 convolutions, `fmb` a fused inverted
    bottleneck, `mb` an inverted bottleneck, `att` linear attention before an inverted bottleneck.

    Attributes:
        depths: blocks of a stage, not counting its first, striding block.
        expand: hidden width over width; four times that in the striding block.
        neck: the stages that the neck adds, in that order; the last has the embedding's size.
        aggregate: side of the depthwise kernel that makes attention's second scale.
        head: width of an attention head.
        embedding: side of the embedding in cells, which the neck resizes to; None for that of the
            neck's last stage.
    """

    image_size: int = 512
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    depths: tuple[int, ...] = (1, 1, 1, 4, 4)
    blocks: tuple[str, ...] = ("res", "fmb", "fmb", "mb", "att")
    expand: tuple[int, ...] = (1, 4, 4, 4, 6)
    neck: tuple[int, ...] = (4, 3, 2)
    neck_depth: int = 4
    neck_expand: int = 1
    aggregate: int = 5
    head: int = 32
    out_width: int = 256
    embedding: int | None = None

    def grid(self, stage: int) -> int:
        """Side of a stage's feature map: each stage halves it."""
        return self.image_size // 2 ** (stage + 1)


class Ops(nn.Module):
    """Layers in a row, under `op_list` as published."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run each layer in turn."""
        for layer in self.op_list:
            x = layer(x)
        return x


class Backbone(nn.Module):
    """Normalised image -> the feature map of every stage."""

    def __init__(self, size: EfficientViTSize) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stage(size, index) for index in range(len(size.widths)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(1, 3, S, S) -> (1, C, S / 2, S / 2), (1, C', S / 4, S / 4) ..."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _stage(size: EfficientViTSize, index: int) -> Ops:
    width, kind, expand = size.widths[index], size.blocks[index], size.expand[index]
    if index == 0:
        first: nn.Module = ConvNorm(3, width, 3, stride=2).with_gelu()
    else:
        bottleneck = FusedMBConv if kind == "fmb" else MBConv
        main = bottleneck(size.widths[index - 1], width, 4 * expand, stride=2)
        first = Residual(main, shortcut=False)
    return Ops([first, *(_block(size, index) for _ in range(size.depths[index]))])


def _block(size: EfficientViTSize, index: int) -> nn.Module:
    width, kind, expand = size.widths[index], size.blocks[index], size.expand[index]
    if kind == "att":
        return AttentionBlock(width, expand, size.head, size.aggregate, size.grid(index))
    if kind == "res":
        return Residual(ResBlock(width))
    return Residual((FusedMBConv if kind == "fmb" else MBConv)(width, width, expand))


class Neck(nn.Module):
    """Three stages to one width and size, their sum, bottlenecks, a last 1 x 1 convolution."""

    def __init__(self, size: EfficientViTSize) -> None:
        super().__init__()
        out, side = size.out_width, size.embedding or size.grid(size.neck[-1])
        self.stages = size.neck
        inputs: list[nn.Module] = []
        for stage in size.neck:
            layers: list[nn.Module] = [ConvNorm(size.widths[stage], out)]
            if size.grid(stage) != side:
                layers.append(Bicubic(size.grid(stage), side))
            inputs.append(Ops(layers))
        self.input_ops = nn.ModuleList(inputs)
        bottlenecks = (FusedMBConv(out, out, size.neck_expand) for _ in range(size.neck_depth))
        self.middle = Ops([Residual(bottleneck) for bottleneck in bottlenecks])
        self.output_ops = nn.ModuleList([Ops([ConvNorm(out, out).with_bias()])])

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Join the stages' maps: -> (1, C, h, w)."""
        first, *others = (
            ops(maps[stage]) for ops, stage in zip(self.input_ops, self.stages, strict=True)
        )
        for other in others:
            first = first + other
        out: Tensor = self.output_ops[0](self.middle(first))
        return out


class EfficientViT(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: EfficientViTSize = EfficientViTSize()) -> None:
        super().__init__()
        self.size = size
        self.backbone = Backbone(size)
        self.neck = Neck(size)
        self.norm = LayerNorm2d(size.out_width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, C, h, w)."""
        out: Tensor = self.norm(self.neck(self.backbone(x)))
        return out


class HalvedEfficientViT(EfficientViT):
    """MobileSAMv2's encoder: it takes an image of twice the side and halves it first.

    Published as bilinear interpolation to half the side without antialiasing, which is the mean of
    2 x 2 pixels.
    """

    def halve(self, x: Tensor) -> Tensor:
        """(1, 3, 2S, 2S) -> (1, 3, S, S)."""
        return F.avg_pool2d(x, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, 2S, 2S) -> (1, C, h, w)."""
        return super().forward(self.halve(x))
