"""Dilated and squeezed attention, token by token and head by head, of a state dict."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def dilated(w: Weights, x: Tensor, heads: int, segment: int, dilation: int) -> Tensor:
    """(B, N, C) -> (B, N, C): each set's tokens are gathered by their numbers."""
    width = x.shape[-1] // heads
    out = torch.full_like(x, float("nan"))
    for batch in range(x.shape[0]):
        for start in range(0, x.shape[1], segment):
            for offset in range(dilation):
                places = torch.arange(start + offset, start + segment, dilation)
                packed = F.linear(x[batch, places], *_pair(w, "multihead_attn.Wqkv"))
                q, k, v = packed.chunk(3, dim=-1)
                seen = []
                for head in range(heads):
                    part = slice(head * width, (head + 1) * width)
                    logits = q[:, part] @ k[:, part].T / math.sqrt(width)
                    seen.append(logits.softmax(dim=-1) @ v[:, part])
                joined = torch.cat(seen, dim=-1)
                out[batch, places] = F.linear(joined, *_pair(w, "multihead_attn.out_proj"))
    return F.linear(out, *_pair(w, "proj"))


def squeezed(w: Weights, x: Tensor, heads: int, stride: int) -> Tensor:
    """(1, C, side, side) -> the same, with the published layers as they stand."""
    if stride > 1:
        x = _conv_norm(w, "stride_conv", x, stride=stride, groups=x.shape[1])
    side = x.shape[-1]
    q, k, v = (_conv_norm(w, name, x) for name in "qkv")
    local = _conv_norm(w, "v_local", v, groups=v.shape[1])
    width = q.shape[1] // heads
    logits = torch.zeros(heads, side**2, side**2)
    for head in range(heads):
        mine = slice(head * width, (head + 1) * width)
        logits[head] = q[0, mine].flatten(1).T @ k[0, mine].flatten(1) / math.sqrt(width)
        for a in range(side**2):
            for b in range(side**2):
                apart = abs(a // side - b // side) * side + abs(a % side - b % side)
                logits[head, a, b] += w["attention_biases"][head, apart]
    weights = _talk(w, "talking_head2", _talk(w, "talking_head1", logits).softmax(dim=-1))
    values = v[0].reshape(heads, -1, side**2)
    seen = torch.einsum("hab,hcb->hca", weights, values).reshape(1, -1, side, side) + local
    if stride > 1:
        seen = F.interpolate(seen, scale_factor=stride, mode="bilinear")
    return _conv_norm(w, "proj", F.gelu(seen))


def _pair(w: Weights, name: str) -> tuple[Tensor, Tensor]:
    return w[f"{name}.weight"], w[f"{name}.bias"]


def _talk(w: Weights, name: str, x: Tensor) -> Tensor:
    weight, bias = _pair(w, name)
    return torch.einsum("gh,hab->gab", weight[:, :, 0, 0], x) + bias[:, None, None]


def _conv_norm(w: Weights, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    weight, bias = _pair(w, f"{name}.conv")
    x = F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, groups=groups)
    mean, var = w[f"{name}.bn.running_mean"], w[f"{name}.bn.running_var"]
    return F.batch_norm(x, mean, var, *_pair(w, f"{name}.bn"))
