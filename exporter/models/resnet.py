"""NanoSAM's image encoder: ResNet-18 and a neck, distilled from MobileSAM (NVIDIA 2023).

Reference: NVIDIA-AI-IOT/nanosam, `nanosam/models/timm_image_encoder.py` over timm's `resnet18`; the
tensor names are its training checkpoints'. The backbone halves the image five times, the neck
doubles it once, and a learnt position embedding is added to the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ResNetSize:
    """Widths of a NanoSAM encoder; the defaults are ResNet-18's at 1024 pixels.

    Attributes:
        folded: batch norms are part of the convolutions, which then have biases, as in the ONNX
            files.
    """

    image_size: int = 1024
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    neck_width: int = 256
    out_width: int = 256
    folded: bool = False

    @property
    def grid(self) -> int:
        """Side of the embedding: thirty-two times smaller than the image, then doubled."""
        return self.image_size // 2 ** (len(self.widths) + 1) * 2


def _conv(cin: int, cout: int, kernel: int, stride: int, *, folded: bool) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=folded)


def _norm(width: int, *, folded: bool) -> nn.Module:
    return nn.Identity() if folded else nn.BatchNorm2d(width)


def fuse(owner: nn.Module, conv: str, norm: str) -> None:
    """conv -> batch norm becomes conv with bias: the same numbers, one operation less."""
    first, second = owner.get_submodule(conv), owner.get_submodule(norm)
    if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
        setattr(owner, conv, nn.utils.fuse_conv_bn_eval(first.eval(), second.eval()))
        setattr(owner, norm, nn.Identity())


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, projected if width or size change."""

    def __init__(self, cin: int, cout: int, stride: int, *, folded: bool) -> None:
        super().__init__()
        self.conv1 = _conv(cin, cout, 3, stride, folded=folded)
        self.bn1 = _norm(cout, folded=folded)
        self.conv2 = _conv(cout, cout, 3, 1, folded=folded)
        self.bn2 = _norm(cout, folded=folded)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or cin != cout:
            projection = _conv(cin, cout, 1, stride, folded=folded)
            self.downsample = nn.Sequential(projection, _norm(cout, folded=folded))

    def freeze_tables(self) -> None:
        """Fold every batch norm."""
        fuse(self, "conv1", "bn1")
        fuse(self, "conv2", "bn2")
        if self.downsample is not None:
            fuse(self.downsample, "0", "1")

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        # In timm's order, by which the weights of an exported graph are told apart.
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """Normalised image -> the last stage's feature map."""

    def __init__(self, size: ResNetSize) -> None:
        super().__init__()
        folded, width = size.folded, size.widths[0]
        self.conv1 = _conv(3, width, 7, 2, folded=folded)
        self.bn1 = _norm(width, folded=folded)
        self.stages: list[str] = []
        for index, (cout, depth) in enumerate(zip(size.widths, size.depths, strict=True)):
            strides = (1 if index == 0 else 2, *(1,) * (depth - 1))
            widths = (width, *(cout,) * (depth - 1))
            blocks = (
                BasicBlock(cin, cout, stride, folded=folded)
                for cin, stride in zip(widths, strides, strict=True)
            )
            self.stages.append(f"layer{index + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
            width = cout

    def freeze_tables(self) -> None:
        """Fold the first batch norm."""
        fuse(self, "conv1", "bn1")

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, C, S / 32, S / 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        # Published with padding 1, of minus infinity, which XNNPACK leaves to the interpreter.
        # After a ReLU zero does the same, and an even side needs no padding at its end.
        x = F.max_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return x


class Doubling(nn.ConvTranspose2d):
    """A 3 x 3, stride 2 transposed convolution, padded to twice the side.

    Published with `padding=1, output_padding=1`, which TFLite's converter refuses: the unpadded
    result without its first row and column is the same.
    """

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout, 3, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, 2H, 2W); `output_size` is torch's and ignored."""
        whole = F.conv_transpose2d(x, self.weight, self.bias, stride=2)
        return whole[:, :, 1:, 1:]


class NanoSamEncoder(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: ResNetSize = ResNetSize()) -> None:
        super().__init__()
        width, out = size.neck_width, size.out_width
        self.size = size
        self.pos_embedding = nn.Parameter(torch.zeros(1, out, size.grid, size.grid))
        self.backbone = ResNet(size)
        self.up_1 = nn.Sequential(
            nn.Conv2d(size.widths[-1], width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            Doubling(width, width),
            nn.GELU(),
        )
        self.proj = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.GELU(), nn.Conv2d(width, out, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, C, h, w)."""
        out: Tensor = self.proj(self.up_1(self.backbone(x))) + self.pos_embedding
        return out
