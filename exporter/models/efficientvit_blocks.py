"""The blocks of EfficientViT: convolutions, linear attention, bicubic enlarging.

Reference: mit-han-lab/efficientvit, `models/nn/ops.py`; tensor names as in the published
checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
"""Epsilon of every norm: the published model builder sets it after building."""

FLOOR = 2.0**-24
"""Least denominator of attention: float16's smallest number."""


class ConvNorm(nn.Module):
    """Convolution (`conv`), batch norm (`norm`) or a bias instead, and GELU's tanh form."""

    def __init__(
        self, cin: int, cout: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        half = kernel // 2
        self.conv = nn.Conv2d(cin, cout, kernel, stride, half, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(cout, eps=EPS)
        self.activated = False

    def with_gelu(self) -> ConvNorm:
        """Make the same layer with its activation."""
        self.activated = True
        return self

    def with_bias(self) -> ConvNorm:
        """Make the same layer with a bias instead of the batch norm."""
        self.conv.bias = nn.Parameter(torch.zeros(self.conv.out_channels))
        return self.without_norm()

    def without_norm(self) -> ConvNorm:
        """Make the same layer without the batch norm."""
        self.norm = nn.Identity()
        return self

    def freeze_tables(self) -> None:
        """conv -> batch norm becomes conv with bias: the same numbers, one operation less."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.without_norm()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        x = self.norm(self.conv(x))
        return F.gelu(x, approximate="tanh") if self.activated else x


class ResBlock(nn.Module):
    """Two 3 x 3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, width, 3).with_gelu()
        self.conv2 = ConvNorm(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out: Tensor = self.conv2(self.conv1(x))
        return out


class FusedMBConv(nn.Module):
    """Widen with a 3 x 3 convolution, narrow with a 1 x 1."""

    def __init__(self, cin: int, cout: int, expand: int, stride: int = 1) -> None:
        super().__init__()
        self.spatial_conv = ConvNorm(cin, cin * expand, 3, stride=stride).with_gelu()
        self.point_conv = ConvNorm(cin * expand, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        out: Tensor = self.point_conv(self.spatial_conv(x))
        return out


class MBConv(nn.Module):
    """Widen, depthwise 3 x 3, narrow; only the last has a batch norm, the others a bias."""

    def __init__(self, cin: int, cout: int, expand: int, stride: int = 1) -> None:
        super().__init__()
        hidden = cin * expand
        self.inverted_conv = ConvNorm(cin, hidden).with_bias().with_gelu()
        depth_conv = ConvNorm(hidden, hidden, 3, stride=stride, groups=hidden)
        self.depth_conv = depth_conv.with_bias().with_gelu()
        self.point_conv = ConvNorm(hidden, cout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        out: Tensor = self.point_conv(self.depth_conv(self.inverted_conv(x)))
        return out


class LiteMLA(nn.Module):
    """Multi-scale linear attention: softmax(q k) v with ReLU instead of the exponential.

    (v k^T) q over (1 k^T) q: 32 x 32 numbers a head stand between keys and queries, so the cost
    grows with the tokens, not with their square. The published denominator is `1 k^T q + 1e-15`,
    with sums over all tokens that float16 cannot hold. `freeze_tables` divides the weights of the
    keys by the number of tokens, a power of two, so nothing is rounded: the sums become means. The
    floor of the denominator, float16's smallest number, replaces the 1e-15: it too turns 0 / 0 into
    0, and no denominator that float32 can tell from 0 against its terms is below it.
    """

    ones: Tensor

    def __init__(self, width: int, head: int, kernel: int, grid: int) -> None:
        super().__init__()
        inner, groups = 3 * width, 3 * width // head
        self.head, self.tokens, self.frozen = head, grid * grid, False
        self.qkv = ConvNorm(width, inner).without_norm()
        depthwise = nn.Conv2d(inner, inner, kernel, 1, kernel // 2, groups=inner, bias=False)
        mix = nn.Conv2d(inner, inner, 1, groups=groups, bias=False)
        self.aggreg = nn.ModuleList([nn.Sequential(depthwise, mix)])
        self.proj = ConvNorm(2 * width, width)
        ones = torch.ones(1, 2 * width // head, 1, self.tokens)
        self.register_buffer("ones", ones, persistent=False)

    def freeze_tables(self) -> None:
        """Divide the keys by the number of tokens; both scales are linear in them."""
        if self.frozen:
            return
        weight = self.qkv.conv.weight
        rows = weight.reshape(-1, 3, self.head, weight.shape[1])
        share = torch.tensor([1.0, 1.0 / self.tokens, 1.0]).reshape(1, 3, 1, 1)
        # A new parameter: the old one may share its memory with the checkpoint it came from.
        self.qkv.conv.weight = nn.Parameter((rows * share).reshape(weight.shape))
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> the same shape."""
        _, width, height, cols = x.shape
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, self.aggreg[0](qkv)], dim=1)
        # A head's channels lie together: its queries, its keys, its values.
        qkv = qkv.reshape(1, 2 * width // self.head, 3 * self.head, self.tokens)
        q, k, v = qkv.chunk(3, dim=2)
        k = F.relu(k) if self.frozen else F.relu(k) / self.tokens
        memory = torch.cat([v, self.ones], dim=2) @ k.transpose(2, 3)
        out = memory @ F.relu(q)
        out = out[:, :, : self.head] / out[:, :, self.head :].clamp(min=FLOOR)
        mixed: Tensor = self.proj(out.reshape(1, 2 * width, height, cols))
        return mixed


class Residual(nn.Module):
    """x + main(x), or main(x) if the shape changes."""

    def __init__(self, main: nn.Module, *, shortcut: bool = True) -> None:
        super().__init__()
        self.main = main
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        out: Tensor = self.main(x)
        return x + out if self.shortcut else out


class AttentionBlock(nn.Module):
    """Linear attention, then an inverted bottleneck."""

    def __init__(self, width: int, expand: int, head: int, kernel: int, grid: int) -> None:
        super().__init__()
        self.context_module = Residual(LiteMLA(width, head, kernel, grid))
        self.local_module = Residual(MBConv(width, width, expand))

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> the same shape."""
        out: Tensor = self.local_module(self.context_module(x))
        return out


class Bicubic(nn.Module):
    """Bicubic enlarging (half-pixel centres, edges clamped) as two products with one constant.

    Core ML has no bicubic resizing, and ONNX Runtime's and TFLite's take longer than this network.
    Resizing is linear and separable: y = M x M^T with M (side, side') for rows and for columns.
    """

    matrix: Tensor

    def __init__(self, side: int, new: int) -> None:
        super().__init__()
        impulses = torch.eye(side).reshape(1, 1, side, side)
        matrix = F.interpolate(impulses, (new, side), mode="bicubic", align_corners=False)
        self.register_buffer("matrix", matrix.reshape(new, side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, side, side) -> (B, C, new, new)."""
        columns = F.linear(x, self.matrix).transpose(2, 3)
        return F.linear(columns, self.matrix).transpose(2, 3)
