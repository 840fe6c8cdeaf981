"""RWKV's two-way weighted averages over all tokens, without a loop.

Reference: HarborYuan/ovsam, `ext/rwkv` (the CUDA kernel) and `projects/rwkvsam`; paper: Yuan et al.
2024, arXiv 2406.19369. With T tokens, and for each channel w = decay / T and u = first / T:

    y_t = [sum over i != t of e^(k_i - w (|t - i| - 1)) v_i + e^(k_t + u) v_t]
          / [the same without v]

Tokens lie in R rows of L. What other rows add to a row is a multiple of two numbers: the sum of all
rows before it, and of all after it. So sums over all tokens are three products, of tables that hold
a channel's weights, and one triangle over the rows:

    z = e^(k - largest)  (C, R, L) --------------------------------- (C, R, L + 2) @ (C, L + 2, L)
                              \\-- @ (C, L, 2) -- @ triangle (R, R) --/

Numerator (z v for z) and denominator are made alike. Nothing overflows: z is at most 1, and as w is
divided by T, weights stay within e^|decay|. `profiles/results/recurrence.md` has this beside
cumulative sums, and beside triangles that all channels share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.errors import CheckpointError

ROW = 16
"""Tokens of a row (L), by measurement: `python -m profiles.lab.recurrence`."""

MOST_DECAY = 80.0
"""Largest decay, either way: e^80 times the sum of all tokens is in float32's range."""


class WeightedAverages(nn.Module):
    """The recurrence as products with tables; exact up to rounding.

    Args:
        width: channels (C).
        tokens: T; T / row is a square number, or ValueError.
        row: tokens of a row (L).
    """

    inside: Tensor
    totals: Tensor
    step: Tensor
    coarse: Tensor
    fine: Tensor
    coarse_back: Tensor
    fine_back: Tensor
    before: Tensor
    after: Tensor

    def __init__(self, width: int, tokens: int, row: int = ROW) -> None:
        super().__init__()
        self.width, self.tokens, self.row, self.rows = width, tokens, row, tokens // row
        self.side = math.isqrt(self.rows)
        if self.side**2 * row != tokens:
            raise ValueError(f"{tokens} tokens are not {row} times a square number")
        ones = torch.ones(self.rows, self.rows)
        self.register_buffer("before", ones.tril(-1), persistent=False)
        self.register_buffer("after", ones.triu(1), persistent=False)

    def set_weights(self, decay: Tensor, first: Tensor) -> None:
        """Compute the tables, in double precision and stored as float32.

        Args:
            decay: (C,), how weights fall with the distance, over all tokens.
            first: (C,), a token's weight for itself.

        Raises:
            CheckpointError: a decay is beyond MOST_DECAY, or no number.
        """
        most = 0.0 if decay.is_meta else float(decay.abs().max())
        if not most <= MOST_DECAY:
            raise CheckpointError(
                f"a spatial_decay of {most:.3g} is more than float32 has room for: {MOST_DECAY:g} "
                "at most, either way"
            )
        for name, table in self._tables(decay.double(), first.double()).items():
            self.register_buffer(name, table.float().contiguous(), persistent=False)

    def _tables(self, decay: Tensor, first: Tensor) -> Mapping[str, Tensor]:
        w, u = (each[:, None, None] / self.tokens for each in (decay, first))
        place = torch.arange(self.row, dtype=torch.float64)
        distance = (place[:, None] - place).abs()
        within = torch.where(distance == 0, u, -w * (distance - 1))
        # From the first token of the row after, and from the last token of the row before.
        ends = torch.cat([-w * (self.row - 1 - place), -w * place], dim=1)
        seen = torch.cat([-w * place, -w * (self.row - 1 - place)], dim=1)
        row = w * self.row  # a row further away
        middle = (torch.arange(self.side, dtype=torch.float64) - (self.side - 1) / 2)[None, None]
        fine, coarse = row * middle, (row * middle * self.side).transpose(1, 2)
        return {
            "inside": torch.cat([within, seen], dim=1).exp(),
            "totals": ends.transpose(1, 2).exp(),
            "step": row[..., 0].exp(),
            "fine": fine.exp(),
            "coarse": coarse.exp(),
            "fine_back": (-fine).exp(),
            "coarse_back": (-coarse).exp(),
        }

    def forward(self, k: Tensor, v: Tensor) -> Tensor:
        """Keys and values (1, T, C) -> averages (1, T, C)."""
        k, v = (x.transpose(1, 2).reshape(self.width, self.rows, self.row) for x in (k, v))
        z = (k - k.amax(dim=(1, 2), keepdim=True)).exp()
        y = self._sums(z * v) / self._sums(z)
        return y.reshape(1, self.width, self.tokens).transpose(1, 2)

    def _sums(self, z: Tensor) -> Tensor:
        """Weigh and sum (C, R, L) over all tokens, for each token."""
        ahead, behind = (z @ self.totals).unbind(dim=-1)
        before = self._fall(F.linear(self._grow(ahead), self.before)) * self.step
        after = self._grow(F.linear(self._fall(behind), self.after)) * self.step
        joined = torch.cat([z, before.unsqueeze(-1), after.unsqueeze(-1)], dim=-1)
        return joined @ self.inside

    def _grow(self, rows: Tensor) -> Tensor:
        """(C, R): times e^(w L r), with rows r counted from the middle."""
        return self._scaled(rows, self.coarse, self.fine)

    def _fall(self, rows: Tensor) -> Tensor:
        """(C, R): the same, divided."""
        return self._scaled(rows, self.coarse_back, self.fine_back)

    def _scaled(self, rows: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        """Multiply by a table (C, R) that is stored as (C, s, 1) times (C, 1, s), s^2 = R."""
        square = rows.reshape(self.width, self.side, self.side)
        return (square * coarse * fine).reshape(self.width, self.rows)
