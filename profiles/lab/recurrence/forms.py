"""Other static forms of `exporter.models.wkv.WeightedAverages`, and the recurrence itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKENS = 4096
SIDE = 64


def recurrence(k: Tensor, v: Tensor, decay: Tensor, first: Tensor) -> Tensor:
    """Compute it token after token in double precision, once forward and once backward.

    Keys and values (1, T, C), `decay` and `first` (C,) -> (1, T, C).
    """
    k, v = k.double()[0], v.double()[0]
    fall, own = (-decay.double() / len(k)).exp(), (first.double() / len(k)).exp()
    z = (k - k.amax(dim=0)).exp()
    terms = torch.stack([z * v, z])

    def sums_before(terms: Tensor) -> Tensor:
        total, found = torch.zeros_like(terms[:, 0]), []
        for token in terms.unbind(dim=1):
            found.append(total)
            total = total * fall + token
        return torch.stack(found, dim=1)

    others = sums_before(terms) + sums_before(terms.flip(1)).flip(1)
    above, below = (others + own * terms).unbind()
    averages: Tensor = (above / below)[None]
    return averages


class Form(nn.Module):
    """A form whose sums are made by `sums`, of (1, T, C) in the middle of which weights are 1."""

    near: Tensor
    back: Tensor
    turn: Tensor
    own: Tensor

    def __init__(self, decay: Tensor, first: Tensor) -> None:
        super().__init__()
        self.keep(decay.double() / TOKENS, first.double() / TOKENS)

    def keep(self, w: Tensor, u: Tensor) -> None:
        """Store the tables of weights that follow from w and u (C,)."""
        place = (torch.arange(TOKENS, dtype=torch.float64) - (TOKENS - 1) / 2)[:, None] * w
        tables = {"near": place, "back": (-2 * place).exp(), "turn": (2 * place).exp()}
        for name, table in (tables | {"own": (u - w).exp()}).items():
            self.register_buffer(name, table.float())

    def forward(self, k: Tensor, v: Tensor) -> Tensor:
        """Keys and values (1, T, C) -> averages (1, T, C)."""
        z = (k + (self.near - k.amax(dim=1, keepdim=True))).exp()
        return self.sums(z * v) / self.sums(z)

    def sums(self, z: Tensor) -> Tensor:
        """Sum the tokens before and after each, and itself."""
        after = z * self.back
        before, to_here = self.running(z), self.running(after)
        return before - z + self.own * z + self.turn * (to_here[:, -1:] - to_here)

    def running(self, z: Tensor) -> Tensor:
        """Sum (1, T, C) up to each token."""
        raise NotImplementedError


class CumulativeSums(Form):
    """Two cumulative sums each: the targets' own operation."""

    def running(self, z: Tensor) -> Tensor:
        """See `Form.running`."""
        return z.cumsum(dim=1)


class ShiftedSums(Form):
    """The same sums by adding a shifted copy, twelve times (Hillis and Steele 1986)."""

    def running(self, z: Tensor) -> Tensor:
        """See `Form.running`."""
        shift = 1
        while shift < TOKENS:
            z = z + F.pad(z[:, :-shift], (0, 0, shift, 0))
            shift *= 2
        return z


class SharedTriangles(Form):
    """Products with triangles that all channels share: inside rows of 64 tokens, and over rows."""

    up: Tensor
    down: Tensor
    below: Tensor
    above: Tensor

    def keep(self, w: Tensor, u: Tensor) -> None:
        """See `Form.keep`; weights differ inside a row alone."""
        place = (torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2)[:, None] * w
        tables = {
            "near": place,
            "back": (-2 * place).exp(),
            "turn": (2 * place).exp(),
            "own": (u - w).exp(),
            "up": (place * SIDE).exp(),
            "down": (-place * SIDE).exp(),
            "below": torch.ones(SIDE, SIDE).tril(-1),
            "above": torch.ones(SIDE, SIDE).triu(1),
        }
        for name, table in tables.items():
            self.register_buffer(name, table.float())

    def forward(self, k: Tensor, v: Tensor) -> Tensor:
        """See `Form.forward`."""
        shape = k.shape
        k, v = (x.reshape(SIDE, SIDE, -1) for x in (k, v))
        z = (k + (self.near - k.amax(dim=(0, 1), keepdim=True))).exp()
        return (self.sums(z * v) / self.sums(z)).reshape(shape)

    def sums(self, z: Tensor) -> Tensor:
        """See `Form.sums`: (rows, tokens of a row, C)."""
        ahead = self.below @ z
        before = self.down * (self.below @ (self.up * (ahead[:, -1] + z[:, -1])))
        turned = z * self.back
        behind = self.above @ turned
        after = self.up * (self.above @ (self.down * (behind[:, 0] + turned[:, 0])))
        return ahead + before[:, None] + self.own * z + self.turn * (behind + after[:, None])
