"""Cross-attention between a few tokens and a whole image, without projecting the image.

The published form projects all hw image tokens to queries, keys or values: four matrices of
hw x 256 x 128 a block. With T tokens and h heads, h * T = 104 < 128 columns do the same work on the
other side of the product (N = 8): q . (W x) = (W^T q) . x. The image then meets one matrix of
256 x h*T, and no tensor of image size is split into heads. Exact up to rounding; what it saves is
in `profiles/results/bench.md`.

    tokens to image:   softmax((x (W_k^T q))^T) x W_v^T        (W_k's bias is the same for all keys:
                                                               softmax does not see it)
    image to tokens:   softmax(x (W_q^T k) + b_q . k) (v W_o^T) + b_o

The image always stands on the left of a product and nothing on its right is transposed: TFLite's
converter makes a fully connected layer with computed weights of the other order, which XNNPACK
does not take.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from exporter.models.attention import Attention


def tokens_to_image(attn: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(B, T, C) tokens, (B, hw, C) keys and values -> (B, T, C)."""
    batch, count, _ = tokens.shape
    q = _as_columns(attn.q_proj(tokens) * attn.scale, attn)
    logits = keys @ (_transposed(attn.k_proj.weight) @ q)
    mixed = attn.v_proj(logits.transpose(1, 2).softmax(dim=-1) @ values)
    mixed = mixed.reshape(batch, attn.heads, count, -1) * attn.head_mask
    out: Tensor = attn.out_proj(mixed.sum(dim=1))
    return out


def image_to_tokens(
    attn: Attention, image: Tensor, keys: Tensor, values: Tensor, key_bias: Tensor
) -> Tensor:
    """(B, hw, C) image, (B, T, C) keys and values, (B, 1, 1, T) bias -> (B, hw, C)."""
    batch, pixels, _ = image.shape
    count = keys.shape[1]
    k = attn.k_proj(keys) * attn.scale
    bias = (_as_rows(k, attn) * attn.q_proj.bias).sum(dim=-1).reshape(batch, attn.heads, count)
    bias = (bias + key_bias.reshape(batch, 1, count)).reshape(batch, 1, attn.heads * count)
    logits = image @ (_transposed(attn.q_proj.weight) @ _as_columns(k, attn)) + bias
    weights = logits.reshape(batch, pixels, attn.heads, count).softmax(dim=-1)
    told_image = told(attn, values)
    return weights.reshape(batch, pixels, attn.heads * count) @ told_image + attn.out_proj.bias


def told(attn: Attention, values: Tensor) -> Tensor:
    """(B, T, C) what tokens tell -> (B, heads * T, C), already projected for the image."""
    return F.linear(_as_rows(attn.v_proj(values), attn), attn.out_proj.weight)


def _transposed(weight: Tensor) -> Tensor:
    """(inner, C) -> (1, C, inner), a constant of the graph."""
    return weight.t().contiguous().unsqueeze(0)


def _as_rows(x: Tensor, attn: Attention) -> Tensor:
    """(B, T, inner) -> (B, heads * T, inner): each head's copy holds its own channels, else 0."""
    batch, count, inner = x.shape
    return (x.unsqueeze(1) * attn.head_mask).reshape(batch, attn.heads * count, inner)


def _as_columns(x: Tensor, attn: Attention) -> Tensor:
    """(B, T, inner) -> (B, inner, heads * T): the same, a column for each head and token."""
    batch, count, inner = x.shape
    mask = attn.head_mask.reshape(1, attn.heads, inner).transpose(1, 2)
    columns = x.transpose(1, 2).reshape(batch, inner, 1, count)
    return (columns * mask.reshape(1, inner, attn.heads, 1)).reshape(batch, inner, -1)
