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

MASK_SCALE = 10.0
"""The published encoder takes 20 s - 10 of a mask's share s in 0..1: 10 times a number in -1..1."""
STEEP = 1e30
"""Times a logit that is above 0, this is above 2."""


def signs(logits: Tensor) -> Tensor:
    """1 where a logit is above 0, else -1, without a boolean.

    Exact for what is farther from 0 than 1e-29, in float32: `exporter.islands.MASK_STEP`.
    """
    # A minimum of 1 would be taken for the activation RELU_0_TO_1, which XNNPACK refuses.
    two = torch.full((1,), 2.0)
    return torch.minimum(F.relu(logits * STEEP), two) - 1.0


class CentredNorm(LayerNorm2d):
    """Layer normalisation over channels whose mean is 0 already: the convolution before sees to it.

    With `centred` the variance is a convolution of the squares to one channel. A norm over 4 to 64
    channels of many pixels takes half the time so in ONNX Runtime and in XNNPACK; Core ML has it as
    one operation, and its float16 does not hold every square.
    """

    share: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.centred = False
        share = torch.full((1, channels, 1, 1), 1.0 / channels)
        self.register_buffer("share", share, persistent=False)

    def centre(self, conv: nn.Conv2d) -> None:
        """Take the mean over the output channels out of the weights of the convolution before."""
        conv.weight = nn.Parameter(conv.weight - conv.weight.mean(dim=0, keepdim=True))
        bias = cast("Tensor", conv.bias)
        conv.bias = nn.Parameter(bias - bias.mean())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if not self.centred:
            return super().forward(x)
        spread = torch.rsqrt(F.conv2d(x * x, self.share) + self.eps)
        return x * spread * self.weight[:, None, None] + self.bias[:, None, None]


class MaskDownsampler(nn.Module):
    """A mask of `mask_upscale` times 4 g, 16 g at the published width -> features on the grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels_last = False
        layers: list[nn.Module] = []
        channels = 1
        while channels < width:
            layers += [
                nn.Conv2d(channels, 4 * channels, 3, stride=2, padding=1),
                CentredNorm(4 * channels),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, width, 1))

    def freeze_tables(self) -> None:
        """Centre what is normalised."""
        layers = list(self.encoder)
        for conv, norm in zip(layers[:-1:3], layers[1::3], strict=True):
            cast("CentredNorm", norm).centre(cast("nn.Conv2d", conv))

    def forward(self, mask: Tensor) -> Tensor:
        """(1, 1, 16 g, 16 g), see the class -> (1, width, g, g)."""
        if not self.channels_last:
            out: Tensor = self.encoder(mask)
            return out
        # XNNPACK pads a map of one channel float by float; as a matrix it copies whole rows. The
        # sides are even, so a stride of 2 never reaches a padding on the right or below.
        first = cast("nn.Conv2d", self.encoder[0])
        padded = F.pad(mask[:, 0], (1, 0, 1, 0)).unsqueeze(1)
        x = F.conv2d(padded, first.weight, first.bias, stride=2)
        rest: Tensor = self.encoder[1:](x)
        return rest


class SevenBySeven(nn.Conv2d):
    """A depthwise convolution of 7 x 7; with channels last, as three of 3, 3 and 1 rows.

    XNNPACK computes up to 25 taps in one pass; 49 take several, three times as slow in all.
    """

    ROWS = (3, 3, 1)

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 7, padding=3, groups=width)
        self.channels_last = False

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, g, g) -> the same."""
        if not self.channels_last:
            return super().forward(x)
        height, top = x.shape[2], 0
        padded = F.pad(x, (3, 3, 3, 3))
        total: Tensor | None = None
        for rows in self.ROWS:
            part = padded[:, :, top : top + height + rows - 1]
            kernel = self.weight[:, :, top : top + rows]
            bias = self.bias if total is None else None
            found = F.conv2d(part, kernel, bias, groups=self.groups)
            total = found if total is None else total + found
            top += rows
        return cast("Tensor", total)


class FuserBlock(nn.Module):
    """A ConvNeXt block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = SevenBySeven(width)
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
        width, self.upscale = size.width, size.mask_upscale
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
        mask = F.interpolate(
            logits, scale_factor=self.upscale, mode="bilinear", align_corners=False
        )
        cut = from_prompt.reshape(1, 1, 1, 1)
        # 2 sigmoid(x) - 1 without its cancellation, which costs 10 dB in float16.
        soft = torch.tanh(mask * 0.5)
        x = self.mask_downsampler((signs(mask) * cut + soft * (1.0 - cut)) * MASK_SCALE)
        x = self.fuser(self.pix_feat_proj(image) + x)
        out: Tensor = self.out_proj(x)
        return out

    def accept_embedding(self, added: Tensor) -> None:
        """Take images that have `added` (width) in them already: fold its removal into a bias."""
        proj = self.pix_feat_proj
        bias = cast("Tensor", proj.bias) - proj.weight.flatten(1) @ added
        proj.bias = nn.Parameter(bias)
