"""Attention on a squeezed map, as EfficientFormerV2 has it (Li et al. 2022, arXiv 2212.08059).

ESAM ("Efficient SAM for Medical Image Analysis") says that its image encoder is EfficientFormerV2,
and publishes neither code nor weights: this attention is as far as the paper fixes it. Reference
for the arithmetic and the tensor names: timm, `models/efficientformer_v2.py`, `Attention2d`.

    map -> depthwise conv, stride 2 -> attention between the fewer cells -> x2 bilinear -> map

Between the softmax and the heads stand two mixtures of heads ("talking heads"). The first one's
bias is left out (softmax does not see what all keys share), its weights go into the table of
positions, and the second one's bias becomes a multiple of the sum of all values.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """Convolution (`conv`) and batch norm (`bn`); one convolution once frozen."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups)
        self.bn: nn.Module = nn.BatchNorm2d(cout)

    def freeze_tables(self) -> None:
        """Fold the norm into the convolution."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.bn.eval())
            self.bn = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        out: Tensor = self.bn(self.conv(x))
        return out


class SqueezedAttention(nn.Module):
    """Cells of a map look at each other at a fraction of its resolution.

    Args:
        width: channels of the map.
        side: of the map, in cells.
        stride: by which it is squeezed; 1 leaves out both the squeezing and the enlarging.
        heads: of attention.
        key_width: channels of a head's queries and keys; its values have `value_ratio` times that.

    Raises:
        ValueError: the stride does not divide the side, so that enlarging would miss it.
    """

    bias: Tensor

    def __init__(
        self,
        width: int,
        side: int,
        stride: int = 2,
        heads: int = 8,
        key_width: int = 32,
        value_ratio: int = 4,
    ) -> None:
        super().__init__()
        if side % stride:
            raise ValueError(f"a stride of {stride} does not divide a map of {side} cells")
        self.heads, self.stride, self.side = heads, stride, side // stride
        self.scale = key_width**-0.5
        inner = value_ratio * key_width * heads
        self.stride_conv = ConvNorm(width, width, 3, stride, width) if stride > 1 else None
        self.q = ConvNorm(width, key_width * heads)
        self.k = ConvNorm(width, key_width * heads)
        self.v = ConvNorm(width, inner)
        self.v_local = ConvNorm(inner, inner, 3, groups=inner)
        self.talking_head1 = nn.Conv2d(heads, heads, 1)
        self.talking_head2 = nn.Conv2d(heads, heads, 1)
        self.attention_biases = nn.Parameter(torch.zeros(heads, self.side**2))
        self.proj = ConvNorm(inner, width)

    def freeze_tables(self) -> None:
        """Make the table of positions, each already mixed for its head, (1, heads, n, n)."""
        places = torch.arange(self.side**2)
        rows, columns = places // self.side, places % self.side
        distance = _apart(rows) * self.side + _apart(columns)
        mixed = self.talking_head1.weight.flatten(1) @ self.attention_biases
        self.register_buffer("bias", mixed[:, distance].unsqueeze(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, side, side) -> the same."""
        if self.stride_conv is not None:
            x = self.stride_conv(x)
        values = self.v(x)
        q, k, v = (self._heads(part) for part in (self.q(x) * self.scale, self.k(x), values))
        logits = F.conv2d(q.transpose(2, 3) @ k, self.talking_head1.weight) + self.bias
        weights = F.conv2d(logits.softmax(dim=-1), self.talking_head2.weight)
        level = cast("Tensor", self.talking_head2.bias).reshape(1, -1, 1, 1)
        seen = v @ weights.transpose(2, 3) + v.sum(dim=-1, keepdim=True) * level
        y = seen.reshape(values.shape) + self.v_local(values)
        if self.stride > 1:
            y = F.interpolate(y, scale_factor=self.stride, mode="bilinear", align_corners=False)
        out: Tensor = self.proj(F.gelu(y))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        """(1, heads * d, s, s) -> (1, heads, d, s * s)."""
        return x.reshape(1, self.heads, -1, self.side**2)


def _apart(places: Tensor) -> Tensor:
    return (places[:, None] - places[None]).abs()
