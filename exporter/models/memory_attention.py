"""SAM 2's memory attention: an image's tokens look at the memories of earlier frames.

Reference: facebookresearch/sam2, `sam2/modeling/memory_attention.py` and `sam/transformer.py`;
yformer/EfficientTAM for the pooled kinds. Tensor names as published. What differs is the form:

- The bank has M slots of memories and P of pointers. A bias takes empty ones out of every softmax,
  so they may hold anything finite, and the result is that of the published code on the full ones.
- With one head, softmax(A) (m W_v^T) W_o^T = (softmax(A) m) (W_o W_v)^T. So the values are the bank
  itself, 64 wide and shared by all layers.
- RoPE by halves: the even and the odd rows of W_q and W_k are two layers. No pairs are swapped, no
  number is complex, and the order of channels cancels in q . k.
- Keys are columns, (width, K): a product with a transpose would become a fully connected layer with
  computed weights, which XNNPACK does not take.
- Queries go through in chunks, so that no matrix of all logits exists.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import linear_of
from exporter.models.memory_bank import POOLED_LOGIT, Bank, MemorySize, pool
from exporter.models.positions import turn, turns

MOST_LOGITS = 2**24
"""Logits of one chunk: 64 MB of float32."""
MOST_ROWS = 1024
MOST_JOINED = 4
"""XNNPACK takes a CONCATENATION of 5 at most."""


class Projections(nn.Module):
    """The published parameters of one attention."""

    def __init__(self, width: int, key_width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(key_width, width)
        self.v_proj = nn.Linear(key_width, width)
        self.out_proj = nn.Linear(width, width)

    def output(self) -> nn.Linear:
        """(..., key_width) -> (..., width): `out_proj` after `v_proj`, as one layer."""
        last = self.out_proj.weight.double()
        bias = last @ self.v_proj.bias.double() + self.out_proj.bias.double()
        return linear_of((last @ self.v_proj.weight.double()).float(), bias.float())


class Halves(nn.Module):
    """A linear layer as two: its even output channels, and its odd ones."""

    def __init__(self, linear: nn.Linear, scale: float = 1.0) -> None:
        super().__init__()
        weight, bias = linear.weight * scale, linear.bias * scale
        self.even = linear_of(weight[0::2], bias[0::2])
        self.odd = linear_of(weight[1::2], bias[1::2])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., C) -> twice (..., width / 2)."""
        return self.even(x), self.odd(x)


class Grids(nn.Module):
    """The turns of the image's tokens, and of a memory's."""

    cos: Tensor
    sin: Tensor
    memory_cos: Tensor
    memory_sin: Tensor

    def __init__(self, size: MemorySize) -> None:
        super().__init__()
        self.side = size.grid
        cos, sin = turns(size.grid, size.width)
        memory_cos, memory_sin = cos, sin
        if size.latents:  # the first square has no places
            cos_2d, sin_2d = turns(size.latents, size.width)
            memory_cos = torch.cat([torch.ones_like(cos_2d), cos_2d])
            memory_sin = torch.cat([torch.zeros_like(sin_2d), sin_2d])
        for name, table in (
            ("cos", cos),
            ("sin", sin),
            ("memory_cos", memory_cos),
            ("memory_sin", memory_sin),
        ):
            self.register_buffer(name, table[None, None].clone(), persistent=False)


def columns(halves: tuple[Tensor, Tensor]) -> Tensor:
    """Twice (1, M, T, width / 2) -> (1, 1, width, M * T)."""
    parts = [half.reshape(1, 1, -1, half.shape[-1]).transpose(2, 3) for half in halves]
    return torch.cat(parts, dim=2)


def attend(
    query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, out: nn.Linear
) -> Tensor:
    """Attend in chunks of queries.

    Args:
        query: (1, 1, N, width), scaled.
        keys: (1, 1, width, K).
        values: (1, 1, K, C).
        bias: (1, 1, 1, K) of the logits, or None.
        out: applied to what comes out, (C) -> (width).

    Returns:
        (1, 1, N, width).
    """
    rows = _rows(query.shape[2], keys.shape[3])
    groups, mixed = [], []
    chunks = [query] if rows == query.shape[2] else list(torch.split(query, rows, dim=2))
    for chunk in chunks:
        logits = chunk @ keys
        weights = (logits if bias is None else logits + bias).softmax(dim=-1)
        mixed.append(weights @ values)
        if len(mixed) == MOST_JOINED:
            groups.append(out(_joined(mixed)))  # a layer between two joins keeps them apart
            mixed = []
    if mixed:
        groups.append(out(_joined(mixed)))
    return _joined(groups)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _rows(queries: int, keys: int) -> int:
    """Queries of one chunk: all of them, or a half again and again."""
    rows = queries
    while rows % 2 == 0 and (rows > MOST_ROWS or rows * keys > MOST_LOGITS):
        rows //= 2
    return rows


class SelfAttention(nn.Module):
    """The image's tokens look at each other."""

    def __init__(self, published: Projections) -> None:
        super().__init__()
        width = published.q_proj.out_features
        self.query, self.key = Halves(published.q_proj, width**-0.5), Halves(published.k_proj)
        self.out = published.output()

    def forward(self, x: Tensor, grids: Grids) -> Tensor:
        """(1, 1, N, width) -> the same."""
        query = torch.cat(turn(self.query(x), grids.cos, grids.sin), dim=-1)
        keys = columns(turn(self.key(x), grids.cos, grids.sin))
        return attend(query, keys, x, None, self.out)


class CrossAttention(nn.Module):
    """The image's tokens look at a bank."""

    def __init__(self, published: Projections) -> None:
        super().__init__()
        width = published.q_proj.out_features
        self.query, self.key = Halves(published.q_proj, width**-0.5), Halves(published.k_proj)
        self.out = published.output()

    def forward(self, x: Tensor, bank: Bank, grids: Grids) -> Tensor:
        """(1, 1, N, width) -> the same."""
        query = torch.cat(turn(self.query(x), grids.cos, grids.sin), dim=-1)
        turned = turn(self.key(bank.memories), grids.memory_cos, grids.memory_sin)
        if bank.pooling != "none":
            even, odd = (pool(half, grids.side) for half in turned)
            more = POOLED_LOGIT if bank.pooling == "keys" else 0.0
            turned = even + more, odd + more
        keys = torch.cat([columns(turned), columns(self.key(bank.pointers))], dim=3)
        return attend(query, keys, bank.values, bank.bias, self.out)


class MemoryLayer(nn.Module):
    """Self-attention, attention to the bank, MLP; each after its norm and with a residual."""

    def __init__(self, size: MemorySize) -> None:
        super().__init__()
        width = size.width
        self.self_attn = Projections(width, width)
        self.cross_attn_image = Projections(width, size.memory_width)
        self.linear1 = nn.Linear(width, size.hidden)
        self.linear2 = nn.Linear(size.hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.looks_around: SelfAttention
        self.looks_back: CrossAttention

    def freeze_tables(self) -> None:
        """Make the forms that run of the published parameters."""
        self.looks_around = SelfAttention(self.self_attn)
        self.looks_back = CrossAttention(self.cross_attn_image)

    def around(self, x: Tensor, grids: Grids) -> Tensor:
        """(1, 1, N, width) -> the same: the part that does not depend on the bank."""
        return x + self.looks_around(self.norm1(x), grids)

    def back(self, x: Tensor, bank: Bank, grids: Grids) -> Tensor:
        """(1, 1, N, width) -> the same: the rest."""
        x = x + self.looks_back(self.norm2(x), bank, grids)
        out: Tensor = x + self.linear2(F.relu(self.linear1(self.norm3(x))))
        return out


class MemoryAttention(nn.Module):
    """Tokens of an image and a bank -> tokens that know what the bank remembers."""

    def __init__(self, size: MemorySize) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)
        self.grids = Grids(size)

    def first(self, x: Tensor) -> Tensor:
        """(1, 1, N, width) -> the same: the first layer's self-attention, for all objects."""
        return cast("MemoryLayer", self.layers[0]).around(x, self.grids)

    def forward(self, query: Tensor, bank: Bank) -> Tensor:
        """Do the rest.

        Args:
            query: (1, 1, N, width), what `first` gave.
            bank: of one object.

        Returns:
            (1, 1, N, width).
        """
        for index, layer in enumerate(cast("list[MemoryLayer]", list(self.layers))):
            query = layer.back(
                query if index == 0 else layer.around(query, self.grids), bank, self.grids
            )
        out: Tensor = self.norm(query)
        return out
