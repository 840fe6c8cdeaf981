"""Few bits simulated in torch: weights and values rounded as a target rounds them, then widened.

It needs no target, so it can be done to one block at a time, and says what each is worth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from exporter.calibration import Range
from exporter.precision import BLOCK, Precision


@dataclass
class Rounding:
    """A `Change` (`exporter.products`): rounds the products of some modules.

    Attributes:
        precision: in which they are.
        modules: paths of theirs.
        ranges: path of a module -> what its input lies between; values of others stay float.
    """

    precision: Precision
    modules: frozenset[str]
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rounded: dict[str, Tensor] = {}

    def __call__(self, path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Round the input and the weight (outputs first) of one call."""
        module = path.rpartition(".")[0]
        if module not in self.modules:
            return x, weight
        if path not in self._rounded:
            self._rounded[path] = round_weight(weight, self.precision.bits)
        if module in self.ranges:
            x = round_values(x, self.ranges[module])
        return x, self._rounded[path]


@dataclass
class Ranges:
    """A `Change` that changes nothing: notes what the inputs of products lie between.

    Attributes:
        fine: positions from which on values stay float, see `exporter.targets.Lowering.is_fine`.
    """

    fine: int
    found: dict[str, Range] = field(default_factory=dict)

    def __call__(self, path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Note one call."""
        module = path.rpartition(".")[0]
        sides = x.shape[2:] if weight.ndim == 4 else x.shape[:-1]
        if math.prod(sides) < self.fine:
            seen = Range(float(x.min()), float(x.max()))
            self.found[module] = self.found[module].joined(seen) if module in self.found else seen
        return x, weight


def round_weight(weight: Tensor, bits: int) -> Tensor:
    """Round a weight: symmetric, a scale for each output channel.

    In 4 bits a scale for each BLOCK of a linear layer's inputs, and 8 bits for convolutions and
    what no block divides.

    Args:
        weight: outputs first.
        bits: 8 or 4.
    """
    outputs = weight.shape[0]
    if bits < 8 and weight.ndim == 2 and weight.shape[1] % BLOCK == 0:
        return _symmetric(weight.reshape(-1, BLOCK), bits).reshape(weight.shape)
    return _symmetric(weight.reshape(outputs, -1), 8).reshape(weight.shape)


def round_values(x: Tensor, within: Range, bits: int = 8) -> Tensor:
    """Round values to 2**bits steps between the ends of a range, one of which is 0."""
    low, high = min(within.low, 0.0), max(within.high, 0.0)
    scale = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / scale)
    steps = torch.clamp(torch.round(x / scale) + zero, 0, 2**bits - 1)
    return (steps - zero) * scale


def _symmetric(rows: Tensor, bits: int) -> Tensor:
    """Round (rows, values), a scale for each row."""
    most = 2 ** (bits - 1) - 1
    scales = rows.abs().amax(dim=1, keepdim=True) / most
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    return torch.clamp(torch.round(rows / scales), -most, most) * scales
