"""Blocks of SAM's ViT with the bottleneck adapters that medical forks train.

References: SuperMedIntel/Medical-SAM-Adapter, `models/ImageEncoder/vit/adapter_block.py`, and
OpenGVLab/SAM-Med2D, `segment_anything/modeling/image_encoder.py`; tensor names are theirs.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.vit import Block, BlockSize, ViTSize

_MLP_SCALE = 0.5


class Bottleneck(nn.Module):
    """Medical SAM Adapter's: a linear layer down, GELU, one up; what is added, the block says."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.D_fc1 = nn.Linear(width, hidden)
        self.D_fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        out: Tensor = self.D_fc2(F.gelu(self.D_fc1(x)))
        return out


class MedicalBlock(Block):
    """Medical SAM Adapter's block for pictures: an adapter after attention, one beside the MLP.

    Windows are cut before `norm1`, so their padding is what the norm makes of zeros: its bias.
    """

    def __init__(self, size: ViTSize, block: BlockSize, hidden: int) -> None:
        super().__init__(size, block)
        self.Space_Adapter = Bottleneck(size.width, hidden)
        self.MLP_Adapter = Bottleneck(size.width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        _, height, width, _ = x.shape
        padded = x
        if self.window:
            padded = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        attended = self.attend(self.norm1(padded))[:, :height, :width]
        x = x + attended + self.Space_Adapter(attended)
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed) + _MLP_SCALE * self.MLP_Adapter(normed)
        return out


class GatedConvolutions(nn.Module):
    """SAM-Med2D's adapter: a gate a channel, a convolution down and one up, the input, a norm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, width, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1, bias=False),
            nn.ReLU(),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C), H and W even -> the same shape."""
        batch, _, _, channels = x.shape
        # At rank 2: TFLite's converter has no linear layer of one cell at rank 4.
        gate = self.channel(x.mean(dim=(1, 2))).reshape(batch, 1, 1, channels)
        made = self.spatial((x * gate).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        out: Tensor = self.norm(made + x)
        return out


class Med2dBlock(Block):
    """SAM-Med2D's block: its adapter beside the MLP, on the same normed tokens."""

    def __init__(self, size: ViTSize, block: BlockSize, hidden: int) -> None:
        super().__init__(size, block)
        self.Adapter = GatedConvolutions(size.width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = x + self.attend(self.norm1(x))
        normed = self.norm2(x)
        out: Tensor = x + self.mlp(normed) + self.Adapter(normed)
        return out
