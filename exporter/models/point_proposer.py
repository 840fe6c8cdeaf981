"""A small head on the image embedding that proposes points to click. Ours: nothing is published.

AoP-SAM (arXiv 2505.11980) and Lite-SAM (arXiv 2407.08965) describe such heads, without code; this
one is a heat map of object centres as CenterNet's (arXiv 1904.07850, section 3).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 32


class PointProposer(nn.Module):
    """`image_embeddings` (B, C, h, w) -> scores (B, 1, h, w) in 0..1, highest inside objects.

    Three 3 x 3 convolutions: the embedding itself has seen the picture around a cell.
    """

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, image_embeddings: Tensor) -> Tensor:
        """See the class."""
        return self.logits(image_embeddings).sigmoid()

    def logits(self, image_embeddings: Tensor) -> Tensor:
        """Do as `forward`, before the sigmoid: for training."""
        hidden = F.relu(self.first(image_embeddings))
        out: Tensor = self.last(F.relu(self.second(hidden)))
        return out
