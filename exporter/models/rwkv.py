"""RWKV-SAM's image encoder: convolutions down to an eighth, then RWKV blocks at a sixteenth.

Reference: HarborYuan/ovsam, `projects/rwkvsam` and `ext/rwkv`; tensor names as in its checkpoints.
Yuan et al. 2024, arXiv 2406.19369.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import LayerNorm2d
from exporter.models.wkv import WeightedAverages

EPS = 1e-6
"""Of every norm of the encoder."""


@dataclass(frozen=True)
class RwkvSize:
    """Shape of an encoder; the defaults are the small one's.

    Attributes:
        widths: of the maps at a fourth, an eighth and a sixteenth of the input's side.
        depths: blocks there.
        expand: hidden width of a block of convolutions over its width.
        mix_expand: the same of an RWKV block's channel mix.
    """

    image_size: int = 1024
    widths: tuple[int, int, int] = (64, 128, 384)
    depths: tuple[int, int, int] = (2, 4, 14)
    expand: int = 4
    mix_expand: int = 2
    out_width: int = 256

    @property
    def grid(self) -> int:
        """Side of the RWKV blocks' map."""
        return self.image_size // 16


class Stem(nn.Module):
    """To half of the side; no activation after the second convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1)
        self.norm1 = LayerNorm2d(width, EPS)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, S / 2, S / 2)."""
        out: Tensor = self.conv2(F.gelu(self.norm1(self.conv1(x))))
        return out


class Shortcut(nn.Module):
    """Average of 3 x 3, stride 2, over what lies in the map; 1 x 1 convolution if widths differ.

    Outside, zeros are added above and left, where a sum then has 6 or 4 terms, not 9: its average
    over 9 is scaled up. (TFLite's own padding for stride 2 lies at the other edges.)
    """

    scale: Tensor

    def __init__(self, cin: int, cout: int, side: int) -> None:
        super().__init__()
        edge = torch.ones(side // 2)
        edge[0] = 1.5
        self.register_buffer("scale", torch.outer(edge, edge)[None, None], persistent=False)
        self.expand: nn.Module = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / 2, W / 2)."""
        out: Tensor = self.expand(F.avg_pool2d(F.pad(x, (1, 0, 1, 0)), 3, 2) * self.scale)
        return out


class MBConv(nn.Module):
    """Norm, widen, depthwise 3 x 3, narrow, plus the input; the first of a stage halves the side.

    Args:
        cin: channels of the input.
        cout: of the output.
        expand: hidden channels over `cout`.
        side: of the input, if it is halved; None if not.
    """

    def __init__(self, cin: int, cout: int, expand: int, side: int | None) -> None:
        super().__init__()
        hidden, stride = cout * expand, 1 if side is None else 2
        self.shortcut: nn.Module = nn.Identity() if side is None else Shortcut(cin, cout, side)
        self.pre_norm = LayerNorm2d(cin, EPS)
        self.conv1_1x1 = nn.Conv2d(cin, hidden, 1)
        self.conv2_kxk = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.conv3_1x1 = nn.Conv2d(hidden, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / stride, W / stride)."""
        y = F.gelu(self.conv1_1x1(self.pre_norm(x)))
        out: Tensor = self.conv3_1x1(F.gelu(self.conv2_kxk(y))) + self.shortcut(x)
        return out


class Step(nn.Module):
    """Norm and a convolution to the RWKV blocks' map; there is no position embedding."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(cin, EPS)
        self.proj = nn.Conv2d(cin, cout, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H / 2, W / 2)."""
        out: Tensor = self.proj(self.norm(x))
        return out


def q_shift(x: Tensor, grid: int) -> Tensor:
    """Move quarters of the channels by a cell: right, left, down, up; zeros enter.

    (1, grid * grid, C) -> the same shape.
    """
    channels = x.shape[-1]
    quarter = channels // 4
    padded = F.pad(x.reshape(1, grid, grid, channels), (0, 0, 1, 1, 1, 1))
    # Where a cell's new value lies in the padded map: (row, column), from 0 to 2.
    places = ((1, 0), (1, 2), (0, 1), (2, 1))
    moved = [
        padded[:, row : row + grid, col : col + grid, at * quarter : (at + 1) * quarter]
        for at, (row, col) in enumerate(places)
    ]
    return torch.cat(moved, dim=-1).reshape(1, grid * grid, channels)


class SpatialMix(nn.Module):
    """What attention is elsewhere: gated averages over all tokens."""

    spatial_mix_k: Tensor
    spatial_mix_v: Tensor
    spatial_mix_r: Tensor

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.averages = WeightedAverages(width, grid * grid)
        self.spatial_decay = nn.Parameter(torch.zeros(width))
        self.spatial_first = nn.Parameter(torch.zeros(width))
        for name in ("spatial_mix_k", "spatial_mix_v", "spatial_mix_r"):
            self.register_parameter(name, nn.Parameter(torch.ones(1, 1, width)))
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.frozen = False

    def freeze_tables(self) -> None:
        """Compute the averages' tables. CheckpointError if float32 cannot hold them."""
        self.averages.set_weights(self.spatial_decay.detach(), self.spatial_first.detach())
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, C) -> the same shape."""
        if not self.frozen:
            self.averages.set_weights(self.spatial_decay.detach(), self.spatial_first.detach())
        moved = q_shift(x, self.grid)
        own = x - moved
        k = self.key(moved + own * self.spatial_mix_k)
        v = self.value(moved + own * self.spatial_mix_v)
        gate = F.sigmoid(self.receptance(moved + own * self.spatial_mix_r))
        out: Tensor = self.output(gate * self.averages(k, v))
        return out


class ChannelMix(nn.Module):
    """What the MLP is elsewhere: squared ReLU between, and a gate."""

    spatial_mix_k: Tensor
    spatial_mix_r: Tensor

    def __init__(self, width: int, grid: int, expand: int) -> None:
        super().__init__()
        self.grid = grid
        for name in ("spatial_mix_k", "spatial_mix_r"):
            self.register_parameter(name, nn.Parameter(torch.ones(1, 1, width)))
        self.key = nn.Linear(width, width * expand, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width * expand, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, C) -> the same shape."""
        moved = q_shift(x, self.grid)
        own = x - moved
        hidden = F.relu(self.key(moved + own * self.spatial_mix_k))
        gate = F.sigmoid(self.receptance(moved + own * self.spatial_mix_r))
        out: Tensor = gate * self.value(hidden * hidden)
        return out


class RwkvBlock(nn.Module):
    """Spatial mix and channel mix, each on normed tokens, scaled and added."""

    def __init__(self, width: int, grid: int, expand: int) -> None:
        super().__init__()
        self.layer_scale_1: nn.Parameter | None = nn.Parameter(torch.ones(width))
        self.layer_scale_2: nn.Parameter | None = nn.Parameter(torch.ones(width))
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attn = SpatialMix(width, grid)
        self.mlp = ChannelMix(width, grid, expand)

    def freeze_tables(self) -> None:
        """Fold the scales into the layers before them: scaled outputs are scaled rows.

        New parameters: the old ones may share their memory with the checkpoint.
        """
        if self.layer_scale_1 is None or self.layer_scale_2 is None:
            return
        scales = (self.attn.output, self.layer_scale_1), (self.mlp.value, self.layer_scale_2)
        for layer, scale in scales:
            layer.weight = nn.Parameter(layer.weight.detach() * scale.detach()[:, None])
        self.layer_scale_1 = self.layer_scale_2 = None

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, C) -> the same shape."""
        x = x + _scaled(self.attn(self.norm1(x)), self.layer_scale_1)
        return x + _scaled(self.mlp(self.norm2(x)), self.layer_scale_2)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else x * scale


class Backbone(nn.Module):
    """Normalised image -> maps at a fourth, an eighth and a sixteenth of its side."""

    def __init__(self, size: RwkvSize) -> None:
        super().__init__()
        first, second, width = size.widths
        self.size = size
        self.stem = Stem(first)
        self.conv_stages = nn.ModuleList(
            nn.Sequential(
                MBConv(cin, cout, size.expand, side),
                *(MBConv(cout, cout, size.expand, None) for _ in range(depth - 1)),
            )
            for cin, cout, depth, side in (
                (first, first, size.depths[0], size.image_size // 2),
                (first, second, size.depths[1], size.image_size // 4),
            )
        )
        self.conv_final_pool = Step(second, width)
        self.layers = nn.ModuleList(
            RwkvBlock(width, size.grid, size.mix_expand) for _ in range(size.depths[2])
        )
        self.final_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, S, S) -> (1, C1, S / 4, S / 4), (1, C2, S / 8, S / 8), (1, C3, S / 16, S / 16)."""
        fourth = self.conv_stages[0](self.stem(x))
        eighth = self.conv_stages[1](fourth)
        last = self.conv_final_pool(eighth)
        tokens = last.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.final_norm(tokens)
        return fourth, eighth, tokens.transpose(1, 2).reshape(last.shape)
