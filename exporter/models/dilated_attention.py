"""SAM-Lightening's dilated attention in segments (Song et al. 2024, arXiv 2403.09195).

The sequence is cut into equal segments. Within one, every r-th token attends to the others of its
set, so that a segment makes r independent sets, and their answers go back to where they were:

    (B, N, C) -> (B * segments * r, segment / r, C) -> attention -> (B, N, C)

The paper's kernel gathers and scatters; here a reshape and a permutation do both.

No weights are public. Tensor names are those of the authors' code (Songyanfei/SAM-LIGHTENING
@b271386, later removed). That code departs from the paper: it takes the tokens' axis for the batch
and leaves one of the r sets out. This block follows the paper.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import merge_heads, split_heads


class PackedAttention(nn.Module):
    """Multi-head attention within each sequence of a batch; q, k and v are one layer's rows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        width = x.shape[-1]
        parts = self.Wqkv(x).split(width, dim=-1)
        q, k, v = (split_heads(part, self.heads) for part in parts)
        out: Tensor = self.out_proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        return out


class DilatedAttention(nn.Module):
    """Attention between every `dilation`-th token of a segment, then a projection.

    Args:
        width: channels.
        heads: they divide `width`.
        segment: tokens of a segment.
        dilation: distance of two neighbours in a set; it divides `segment`.

    Raises:
        ValueError: a number does not divide the other.
    """

    def __init__(self, width: int, heads: int, segment: int, dilation: int) -> None:
        super().__init__()
        if width % heads or segment % dilation:
            raise ValueError(
                f"{heads} heads must divide {width} channels, and a dilation of {dilation} a "
                f"segment of {segment} tokens"
            )
        self.segment, self.dilation = segment, dilation
        self.multihead_attn = PackedAttention(width, heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C), N a multiple of the segment -> (B, N, C)."""
        batch, tokens, width = x.shape
        segments, members = batch * tokens // self.segment, self.segment // self.dilation
        sets = x.reshape(segments, members, self.dilation, width).permute(0, 2, 1, 3)
        seen = self.multihead_attn(sets.reshape(segments * self.dilation, members, width))
        seen = seen.reshape(segments, self.dilation, members, width).permute(0, 2, 1, 3)
        out: Tensor = self.proj(seen.reshape(batch, tokens, width))
        return out
