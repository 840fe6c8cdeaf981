"""Tables of positions on a grid: sines, added to tokens, and turns of queries and keys (RoPE).

Reference: facebookresearch/sam2, `sam2/modeling/position_encoding.py`. All of them are constants of
a graph.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SINE_TEMPERATURE = 10_000.0
TURN_BASE = 10_000.0
_EPS = 1e-6


def sine_positions(grid: int, width: int) -> Tensor:
    """(grid * grid, width): sines and cosines of the row in the first half, then of the column.

    A row's or column's number, from 1, becomes a share of 2 pi.
    """
    half = width // 2
    places = torch.arange(1, grid + 1, dtype=torch.float32)
    angles = (places / (places[-1] + _EPS) * (2 * math.pi))[:, None] * _wavelengths(half)
    encoded = torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)
    rows = encoded[:, None].expand(grid, grid, half)
    columns = encoded[None].expand(grid, grid, half)
    return torch.cat([rows, columns], dim=-1).reshape(grid * grid, width)


def _wavelengths(half: int) -> Tensor:
    """(half,): what a place is multiplied by; two neighbours share one."""
    pairs = torch.div(torch.arange(half), 2, rounding_mode="floor").float()
    return SINE_TEMPERATURE ** (-2 * pairs / half)


def sine_rates(width: int) -> Tensor:
    """(width / 2,): what an age is multiplied by before its sines and its cosines."""
    return _wavelengths(width // 2)


def turns(grid: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, both (grid * grid, width / 2), that turn pairs of channels.

    Pair j of the first half turns with the column, of the second half with the row.
    """
    rates = TURN_BASE ** (-torch.arange(0, width, 4)[: width // 4].float() / width)
    places = torch.arange(grid * grid)
    columns, rows = (places % grid).float(), (places // grid).float()
    angles = torch.cat([columns[:, None] * rates, rows[:, None] * rates], dim=-1)
    return angles.cos(), angles.sin()


def turn(halves: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Turn the even and the odd channels of pairs; both (..., tokens, width / 2)."""
    even, odd = halves
    return even * cos - odd * sin, even * sin + odd * cos
