"""EfficientTAM's image encoder (Xiong et al. 2024, arXiv 2411.18933): a plain ViT, one-level neck.

Reference: yformer/EfficientTAM, `efficient_track_anything/modeling/backbones/vitdet.py` and
`image_encoder.py`; tensor names as in the published checkpoints. Its blocks are Hiera's without
pooling. There are no maps of higher resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.hiera import HieraBlock, HieraBlockSize
from exporter.models.layers import LayerNorm2d
from exporter.models.vit import PatchEmbed


@dataclass(frozen=True)
class PlainSize:
    """Shape of an EfficientTAM encoder; the defaults are the small one's.

    Attributes:
        trained_side: side of the position embedding, in patches; resized to the grid.
    """

    width: int = 384
    heads: int = 6
    depth: int = 12
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    patch: int = 16
    image_size: int = 1024
    trained_side: int = 14
    out_width: int = 256
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Side of the feature map, in patches."""
        return self.image_size // self.patch


SIZES = {"tiny": PlainSize(192, 3), "small": PlainSize()}
"""The two widths that EfficientSAM and EfficientTAM are published in."""


class PlainViT(nn.Module):
    """Normalised image -> feature map."""

    def __init__(self, size: PlainSize) -> None:
        super().__init__()
        self.size = size
        self.patch_embed = PatchEmbed(size.width, size.patch)
        places = size.trained_side**2 + 1  # the first is the class token's, which nothing uses
        self.pos_embed = nn.Parameter(torch.zeros(1, places, size.width))
        windows = [0 if i in size.global_blocks else size.window for i in range(size.depth)]
        self.blocks = nn.ModuleList(
            HieraBlock(HieraBlockSize(size.width, size.width, size.heads, w, False), size.eps)
            for w in windows
        )
        self.frozen = False
        self.position: Tensor

    def positions(self) -> Tensor:
        """(1, grid, grid, C)."""
        side, grid = self.size.trained_side, self.size.grid
        square = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        return F.interpolate(square, size=(grid, grid), mode="bicubic").permute(0, 2, 3, 1)

    def freeze_tables(self) -> None:
        """Keep the position embedding at its full size: Core ML has no bicubic resize."""
        self.register_buffer("position", self.positions().contiguous(), persistent=False)
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, C, h, w)."""
        x = self.patch_embed(x) + (self.position if self.frozen else self.positions())
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class PlainNeck(nn.Module):
    """Two convolutions to the embedding's width, named as published: a list of one."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        level = nn.Sequential()
        level.add_module("conv_1x1", nn.Conv2d(width, out, 1, bias=False))
        level.add_module("norm_0", LayerNorm2d(out))
        level.add_module("conv_3x3", nn.Conv2d(out, out, 3, padding=1, bias=False))
        level.add_module("norm_1", LayerNorm2d(out))
        self.convs = nn.ModuleList([level])

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, h, w) -> (B, C, h, w)."""
        out: Tensor = self.convs[0](x)
        return out


class EfficientTamEncoder(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: PlainSize = PlainSize()) -> None:
        super().__init__()
        self.size = size
        self.trunk = PlainViT(size)
        self.neck = PlainNeck(size.width, size.out_width)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, size.out_width))

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, C, h, w)."""
        embedding: Tensor = self.neck(self.trunk(x))
        return embedding + self.no_mem_embed.reshape(1, -1, 1, 1)
