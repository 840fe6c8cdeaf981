"""EdgeTAM's spatial perceiver: a memory of grid x grid tokens becomes two squares of fewer.

Reference: facebookresearch/EdgeTAM, `sam2/modeling/perceiver.py`; tensor names as published. The
first square's tokens look at the whole map; each of the second square's looks at its own window.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from exporter.models.positions import sine_positions

EXPANSION = 4


class LatentAttention(nn.Module):
    """Latents look at a map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.scale = width**-0.5

    def query(self, latents: Tensor) -> Tensor:
        """(1, 1, n, C) -> the same."""
        asked: Tensor = self.to_q(self.norm_latents(latents)) * self.scale
        return asked

    def forward(self, query: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        """Attend.

        Args:
            query: (1, 1, n, C), see the method.
            x: (1, B, k, C): the first n / B latents see the first k tokens, and so on.
            position: (1, 1, k, C), added to keys and to values; or None.

        Returns:
            (1, 1, n, C).
        """
        keys, values = self.to_kv(self.norm_x(x)).chunk(2, dim=-1)
        if position is not None:
            keys, values = keys + position, values + position
        return _attended(query, keys, values, self.to_out)


class SelfAttention(nn.Module):
    """Latents look at each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.scale = width**-0.5

    def forward(self, latents: Tensor, *, alone: bool) -> Tensor:
        """(1, 1, n, C) -> the same; each sees itself `alone`, or all."""
        x = self.norm(latents)
        keys, values = self.to_kv(x).chunk(2, dim=-1)
        if alone:
            own: Tensor = self.to_out(values)
            return own
        return _attended(self.to_q(x) * self.scale, keys, values, self.to_out)


def _attended(query: Tensor, keys: Tensor, values: Tensor, out: nn.Module) -> Tensor:
    """(1, 1, n, C), twice (1, B, k, C) -> (1, 1, n, C)."""
    _, batch, _, width = keys.shape
    weights = (query.reshape(1, batch, -1, width) @ _columns(keys)).softmax(dim=-1)
    # LiteRT's converter fails on a linear layer of (1, B, 1, C): "'tfl.batch_matmul' op found
    # invalid output rank". So latents have their batch for the products alone.
    mixed: Tensor = out((weights @ values).reshape(query.shape))
    return mixed


def _columns(keys: Tensor) -> Tensor:
    """(1, B, k, C) -> (1, B, C, k), in halves: see `exporter.models.memory_attention`."""
    return torch.cat([half.transpose(2, 3) for half in keys.chunk(2, dim=-1)], dim=2)


def _feed_forward(width: int) -> nn.Sequential:
    inner = EXPANSION * width
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, inner, bias=False),
        nn.GELU(),
        nn.Linear(inner, width, bias=False),
    )


class PerceiverLayer(nn.Module):
    """Look at the map, MLP, look at each other, MLP; each with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = LatentAttention(width)
        self.ff = _feed_forward(width)
        self.self_attn = SelfAttention(width)
        self.self_ff = _feed_forward(width)

    def forward(self, latents: Tensor, query: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
        """See `LatentAttention`; `query` is what the latents ask."""
        latents = latents + self.attn(query, x, position)
        latents = latents + self.ff(latents)
        latents = latents + self.self_attn(latents, alone=x.shape[1] == latents.shape[2])
        out: Tensor = latents + self.self_ff(latents)
        return out


class Perceiver(nn.Module):
    """A memory as a map -> 2 * side * side tokens.

    Args:
        grid: side of the map.
        side: of both squares of tokens; it divides `grid`.
        width: channels.
        depth: layers, shared by both squares.
    """

    position: Tensor

    def __init__(self, grid: int, side: int, width: int, depth: int = 2) -> None:
        super().__init__()
        self.grid, self.side = grid, side
        self.latents = nn.Parameter(torch.zeros(side * side, width))
        self.latents_2d = nn.Parameter(torch.zeros(side * side, width))
        self.layers = nn.ModuleList(PerceiverLayer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        position = sine_positions(grid, width)[None, None]
        self.register_buffer("position", position, persistent=False)
        self.first_query: Tensor
        self.first_query_2d: Tensor

    def freeze_tables(self) -> None:
        """Keep what the first layer's latents ask: the same of every map."""
        first = self._layers()[0].attn
        for name, latents in zip(("first_query", "first_query_2d"), self._latents(), strict=True):
            self.register_buffer(name, first.query(latents).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, grid, grid) -> (1, 2 * side * side, C); once frozen."""
        width = x.shape[1]
        tokens = x.reshape(1, 1, width, -1).transpose(2, 3)
        whole, apart = self._latents()
        asked, asked_apart = self.first_query, self.first_query_2d
        windows = self._windows(tokens)
        for number, layer in enumerate(self._layers()):
            if number:
                asked, asked_apart = layer.attn.query(whole), layer.attn.query(apart)
            whole = layer(whole, asked, tokens, self.position)
            apart = layer(apart, asked_apart, windows, None)
        both = torch.cat([whole, apart], dim=2)
        out: Tensor = self.norm(both)
        return out.reshape(1, -1, width)

    def _layers(self) -> list[PerceiverLayer]:
        return cast("list[PerceiverLayer]", list(self.layers))

    def _latents(self) -> tuple[Tensor, Tensor]:
        """(1, 1, n, C) of the first square, and of the second."""
        return self.latents[None, None], self.latents_2d[None, None]

    def _windows(self, tokens: Tensor) -> Tensor:
        """(1, 1, grid * grid, C) -> (1, side * side, cells of a window, C), never above rank 4."""
        side, width = self.side, tokens.shape[-1]
        cell = self.grid // side
        x = tokens.reshape(side, cell, side, cell * width).permute(0, 2, 1, 3)
        return x.reshape(1, side * side, cell * cell, width)
