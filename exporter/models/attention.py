"""The attention of SAM's mask decoder, whose inner width may be half of the tokens'."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import merge_heads, split_heads


class Attention(nn.Module):
    """Multi-head attention whose inner width may be smaller than the tokens' width.

    `absorbed` chooses the form in which the image is not projected (`absorbed_attention`): faster
    in ONNX Runtime and XNNPACK. Core ML keeps the plain form as one operation.
    """

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        self.heads = heads
        self.scale = (inner // heads) ** -0.5
        self.absorbed = False
        mask = head_mask(heads, inner)
        self.register_buffer("head_mask", mask, persistent=False)
        self.head_mask: Tensor
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_bias: Tensor | None = None) -> Tensor:
        """(B, Nq, C), (B, Nk, C), (B, Nk, C), optional (B, 1, 1, Nk) -> (B, Nq, C)."""
        q = split_heads(self.q_proj(q), self.heads)
        k = split_heads(self.k_proj(k), self.heads)
        v = split_heads(self.v_proj(v), self.heads)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=key_bias)
        projected: Tensor = self.out_proj(merge_heads(out))
        return projected


def head_mask(heads: int, inner: int) -> Tensor:
    """(1, heads, 1, inner): 1 where a channel belongs to the head."""
    mask = torch.eye(heads).repeat_interleave(inner // heads, dim=1)
    return mask.reshape(1, heads, 1, inner)
