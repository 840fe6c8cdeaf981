"""SAM 2's memory encoder: a frame's features and its mask become the frame's memory.

Reference: facebookresearch/sam2, `sam2/modeling/memory_encoder.py` and `sam2_base.py`,
`_encode_new_memory`; tensor names as published.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import LayerNorm2d
from exporter.models.memory_bank import MemorySize

MASK_SCALE, MASK_OFFSET = 20.0, -10.0
"""From a mask's share in 0..1 to what the published encoder takes."""
UPSCALE = 4
"""Side of a mask as the encoder takes it, over that of `low_res_masks`."""
STEEP = 1e30
"""Times a logit that is above 0, this is above 2."""


def binary(logits: Tensor) -> Tensor:
    """1 where a logit is above 0, else 0, without a boolean.

    Exact for what is farther from 0 than 1e-29, in float32: `exporter.islands.MASK_STEP`.
    """
    # A minimum of 1 would be taken for the activation RELU_0_TO_1, which XNNPACK refuses.
    two = torch.full((1,), 2.0)
    return torch.minimum(F.relu(logits * STEEP), two) * 0.5


class MaskDownsampler(nn.Module):
    """A mask of 16 times the grid's side -> features on the grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        while channels < width:
            layers += [
                nn.Conv2d(channels, 4 * channels, 3, stride=2, padding=1),
                LayerNorm2d(4 * channels),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, width, 1))

    def forward(self, mask: Tensor) -> Tensor:
        """(1, 1, 16 g, 16 g) -> (1, width, g, g)."""
        out: Tensor = self.encoder(mask)
        return out


class FuserBlock(nn.Module):
    """A ConvNeXt block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma: nn.Parameter | None = nn.Parameter(torch.ones(width))

    def freeze_tables(self) -> None:
        """Fold `gamma` into the second layer."""
        if self.gamma is None:
            return
        gamma, last = self.gamma, self.pwconv2
        weight, bias = last.weight * gamma[:, None], last.bias * gamma
        last.weight, last.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.gamma = None

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, g, g) -> the same."""
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.pwconv2(F.gelu(self.pwconv1(y)))
        if self.gamma is not None:
            y = y * self.gamma
        return x + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """The blocks, named as published."""

    def __init__(self, width: int, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(FuserBlock(width) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, g, g) -> the same."""
        out: Tensor = self.layers(x)
        return out


class MemoryEncoder(nn.Module):
    """Features of an image and a mask's logits -> a map of the memory's width."""

    def __init__(self, size: MemorySize) -> None:
        super().__init__()
        width = size.width
        self.mask_downsampler = MaskDownsampler(width)
        self.pix_feat_proj = nn.Conv2d(width, width, 1)
        self.fuser = Fuser(width)
        self.out_proj = nn.Conv2d(width, size.memory_width, 1)

    def forward(self, image: Tensor, logits: Tensor, from_prompt: Tensor) -> Tensor:
        """Encode.

        Args:
            image: (1, width, g, g).
            logits: (1, 1, 4 g, 4 g).
            from_prompt: (1,): 1 if the mask answers a prompt, and so is cut at 0, else 0.

        Returns:
            (1, memory_width, g, g).
        """
        mask = F.interpolate(logits, scale_factor=UPSCALE, mode="bilinear", align_corners=False)
        cut = from_prompt.reshape(1, 1, 1, 1)
        share = binary(mask) * cut + mask.sigmoid() * (1.0 - cut)
        x = self.mask_downsampler(share * MASK_SCALE + MASK_OFFSET)
        x = self.fuser(self.pix_feat_proj(image) + x)
        out: Tensor = self.out_proj(x)
        return out

    def accept_embedding(self, added: Tensor) -> None:
        """Take images that have `added` (width) in them already: fold its removal into a bias."""
        proj = self.pix_feat_proj
        bias = cast("Tensor", proj.bias) - proj.weight.flatten(1) @ added
        proj.bias = nn.Parameter(bias)
