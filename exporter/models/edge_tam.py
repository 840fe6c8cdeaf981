"""EdgeTAM's image trunk (Zhou et al. 2025, arXiv 2501.07256): RepViT-M1 with four maps.

Reference: facebookresearch/EdgeTAM, `sam2/modeling/backbones/timm.py`, and timm's `repvit.py`. It
is EdgeSAM's trunk with two differences: the tensor names (`exporter.variants.edgetam`), and the
maps, taken before the last block of a stage, which timm counts to the step down after it.
"""

from __future__ import annotations

from torch import Tensor, nn

from exporter.models.repvit import EDGE_SAM, RepViT, RepViTSize


class EdgeTamTrunk(nn.Module):
    """Normalised image -> the maps of strides 4, 8, 16 and 32."""

    def __init__(self, size: RepViTSize = EDGE_SAM) -> None:
        super().__init__()
        self.widths = size.widths
        self.features = RepViT(size).features
        ends = [sum(size.depths[: i + 1]) for i in range(len(size.depths))]
        self.taken = (*(end - 1 for end in ends[:-1]), ends[-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> (B, C, S / 4, S / 4), (B, 2 * C, S / 8, S / 8) ..."""
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taken:
                maps.append(x)
        return maps
