"""YOLOv8-seg (Jocher et al. 2023) with one class, as FastSAM and MobileSAMv2's detector use it.

Reference: ultralytics 8.0.120, `nn/modules` and `models/v8/yolov8-seg.yaml`, in
CASIA-IVA-Lab/FastSAM. The 23 layers have the numbers, and tensors the names, of the published
module. Only the head differs: anchors are constants of a static input, boxes are decoded to corners
in the graph, and every tensor keeps to rank 4 or less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3
"""Epsilon of every batch norm: the published model builder sets it after building."""
BINS = 16
"""Number of distances in a box side's distribution, in cells: 0, 1, ... 15."""
STRIDES = (8, 16, 32)
MOST_JOINED = 5
NECK = {11: 6, 14: 4, 17: 12, 20: 9}
"""Layers that join the one before them with an earlier one."""
HEAD = (15, 18, 21)


@dataclass(frozen=True)
class YoloSize:
    """Shape of a YOLOv8-seg; the defaults are its size s.

    Attributes:
        depth: factor on the blocks of a layer.
        width: factor on channels.
        most: channels before the factor, at most.
        masks: prototypes, and mask coefficients of a detection.
    """

    depth: float = 0.33
    width: float = 0.5
    most: int = 1024
    masks: int = 32

    def channels(self, published: int) -> int:
        """Scale a channel count, rounded up to a multiple of 8."""
        return -int(-min(published, self.most) * self.width // 8) * 8

    def blocks(self, published: int) -> int:
        """Scale a block count, at least to one."""
        return max(round(published * self.depth), 1)


EXTRA_LARGE = YoloSize(depth=1.0, width=1.25, most=512)


class Conv(nn.Module):
    """Convolution (`conv`), batch norm (`bn`), SiLU; the norm is folded once frozen."""

    def __init__(self, cin: int, cout: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(cout, eps=EPS)

    def freeze_tables(self) -> None:
        """conv -> batch norm becomes conv with bias: the same numbers, one operation less."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        return F.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Two 3 x 3 convolutions, with the input added if the layer does so."""

    def __init__(self, width: int, *, add: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width, 3), Conv(width, width, 3)
        self.add = add

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.add else out


class C2f(nn.Module):
    """Half of the channels goes through blocks; every block's output is kept and joined.

    XNNPACK leaves a concatenation of more than five to the interpreter, and the converter makes one
    of two in a row. So `channels_last` adds the convolutions of five and of the rest.
    """

    def __init__(self, cin: int, cout: int, blocks: int, *, add: bool) -> None:
        super().__init__()
        self.channels_last = False
        half = cout // 2
        self.cv1, self.cv2 = Conv(cin, 2 * half), Conv((2 + blocks) * half, cout)
        self.m = nn.ModuleList(Bottleneck(half, add=add) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        parts = list(self.cv1(x).chunk(2, dim=1))
        for block in self.m:
            parts.append(block(parts[-1]))
        if self.channels_last and len(parts) > MOST_JOINED:
            return self._in_two(parts)
        out: Tensor = self.cv2(torch.cat(parts, dim=1))
        return out

    def _in_two(self, parts: list[Tensor]) -> Tensor:
        conv = self.cv2.conv
        first, rest = torch.cat(parts[:MOST_JOINED], dim=1), torch.cat(parts[MOST_JOINED:], dim=1)
        cut = first.shape[1]
        out = F.conv2d(first, conv.weight[:, :cut], conv.bias)
        return F.silu(out + F.conv2d(rest, conv.weight[:, cut:]))


class SPPF(nn.Module):
    """Three 5 x 5 maxima in a row, joined with their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width // 2), Conv(width * 2, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        pooled = [self.cv1(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, stride=1, padding=2))
        out: Tensor = self.cv2(torch.cat(pooled, dim=1))
        return out


class Double(nn.Module):
    """Nearest neighbour, twice the size; `channels_last` copies, as XNNPACK has no such resize."""

    def __init__(self) -> None:
        super().__init__()
        self.channels_last = False

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, C, 2H, 2W)."""
        if not self.channels_last:
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        _, channels, height, width = x.shape
        x = x.permute(0, 2, 3, 1)
        # Each pixel beside itself, then each row below itself, with the channels last.
        wide = torch.cat([x, x], dim=3).reshape(1, height, 1, 2 * width * channels)
        tall = torch.cat([wide, wide], dim=2)
        return tall.reshape(1, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class Prototypes(nn.Module):
    """The stride-8 features at twice their size, in as many channels as there are prototypes."""

    def __init__(self, cin: int, width: int, masks: int) -> None:
        super().__init__()
        self.cv1 = Conv(cin, width, 3)
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.cv2, self.cv3 = Conv(width, width, 3), Conv(width, masks)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, K, 2H, 2W)."""
        out: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return out


class SegmentHead(nn.Module):
    """Boxes, scores and mask coefficients of every cell of three grids, and the prototypes."""

    anchors: Tensor
    steps: Tensor
    bins: Tensor

    def __init__(
        self, size: YoloSize, widths: tuple[int, ...], input_size: tuple[int, int]
    ) -> None:
        super().__init__()
        first = widths[0]
        self.cv2 = _branches(widths, max(16, first // 4, 4 * BINS), 4 * BINS)
        self.cv3 = _branches(widths, first, 1)
        self.cv4 = _branches(widths, max(first // 4, size.masks), size.masks)
        self.proto = Prototypes(first, size.channels(256), size.masks)
        anchors, steps = _anchors(input_size)
        self.register_buffer("anchors", anchors, persistent=False)
        self.register_buffer("steps", steps, persistent=False)
        bins = torch.arange(float(BINS)).reshape(1, BINS)
        self.register_buffer("bins", bins, persistent=False)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of strides 8, 16, 32 -> boxes, scores, coefficients, prototypes; see Yolov8Seg.

        A box side's distance from its cell's centre is the mean of a distribution over `BINS`.
        """
        sides = F.linear(_rows(self.cv2, features).reshape(1, -1, BINS).softmax(-1), self.bins)
        left_top, right_bottom = sides.reshape(1, -1, 4).chunk(2, dim=2)
        corners = (self.anchors - left_top, self.anchors + right_bottom)
        boxes = torch.cat(corners, dim=2) * self.steps
        scores = _rows(self.cv3, features).sigmoid().reshape(1, -1)
        return boxes, scores, _rows(self.cv4, features), self.proto(features[0])


class Yolov8Seg(nn.Module):
    """The whole network for one size of input.

    Args:
        size: the variant's.
        input_size: height and width in pixels, multiples of 32.
    """

    def __init__(self, size: YoloSize, input_size: tuple[int, int] = (1024, 1024)) -> None:
        super().__init__()
        self.size = size
        widths = [size.channels(c) for c in (64, 128, 256, 512, 1024)]
        one, two, three, four, five = widths
        few, many = size.blocks(3), size.blocks(6)
        self.model = nn.ModuleList(
            (
                Conv(3, one, 3, 2),
                Conv(one, two, 3, 2),
                C2f(two, two, few, add=True),
                Conv(two, three, 3, 2),
                C2f(three, three, many, add=True),
                Conv(three, four, 3, 2),
                C2f(four, four, many, add=True),
                Conv(four, five, 3, 2),
                C2f(five, five, few, add=True),
                SPPF(five),
                Double(),
                nn.Identity(),
                C2f(five + four, four, few, add=False),
                Double(),
                nn.Identity(),
                C2f(four + three, three, few, add=False),
                Conv(three, three, 3, 2),
                nn.Identity(),
                C2f(three + four, four, few, add=False),
                Conv(four, four, 3, 2),
                nn.Identity(),
                C2f(four + five, five, few, add=False),
                SegmentHead(size, (three, four, five), input_size),
            )
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(1, 3, H, W), RGB in 0..1 -> the host's data for making masks.

        Returns:
            `boxes` (1, N, 4) x0, y0, x1, y1 in pixels of the input, `scores` (1, N) in 0..1,
            `coefficients` (1, N, K), `prototypes` (1, K, H / 4, W / 4). N counts the cells of the
            grids of strides 8, 16 and 32, row by row.
        """
        kept: list[Tensor] = []
        x = image
        for index, layer in enumerate(self.model[:-1]):
            x = torch.cat([x, kept[NECK[index]]], dim=1) if index in NECK else layer(x)
            kept.append(x)
        head = cast("SegmentHead", self.model[-1])
        return head([kept[index] for index in HEAD])


def _branches(widths: tuple[int, ...], inner: int, out: int) -> nn.ModuleList:
    """Make two 3 x 3 convolutions and a plain 1 x 1 for each grid."""
    return nn.ModuleList(
        nn.Sequential(Conv(width, inner, 3), Conv(inner, inner, 3), nn.Conv2d(inner, out, 1))
        for width in widths
    )


def _rows(branches: nn.ModuleList, features: list[Tensor]) -> Tensor:
    """(1, N, C): one row a cell, the grids after one another."""
    maps = [branch(x).permute(0, 2, 3, 1) for branch, x in zip(branches, features, strict=True)]
    return torch.cat([m.reshape(1, -1, m.shape[3]) for m in maps], dim=1)


def _anchors(input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(1, N, 2) the cells' centres x, y in cells, and (1, N, 1) pixels a cell."""
    centres, steps = [], []
    for stride in STRIDES:
        rows, columns = (torch.arange(side // stride) + 0.5 for side in input_size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres.append(torch.stack((x, y), dim=-1).reshape(1, -1, 2))
        steps.append(torch.full((1, x.numel(), 1), float(stride)))
    return torch.cat(centres, dim=1), torch.cat(steps, dim=1)
