"""Operations without weights in 8 bits: what targets leave in float."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from exporter.calibration import Range
from exporter.rounding import round_values


class RoundedNorms(TorchFunctionMode):
    """Within it, what layer norms take and give has 8 bits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run any function of torch's."""
        del types
        if func is not F.layer_norm:
            return func(*args, **(kwargs or {}))
        return rounded(func(rounded(args[0]), *args[1:], **(kwargs or {})))


class RoundedAttention(TorchFunctionMode):
    """Within it, queries, keys, values, logits and weights of attentions have 8 bits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run any function of torch's."""
        del types
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        return _attend(*map(rounded, args), **(kwargs or {}))


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if attn_mask is not None:
        logits = logits + attn_mask
    return rounded(rounded(logits).softmax(dim=-1)) @ v


def rounded(x: Tensor) -> Tensor:
    """Round to 256 steps between the least and the largest value of this call."""
    return round_values(x, Range(float(x.min()), float(x.max())))


class Within(nn.Module):
    """A graph's module that always runs in a mode."""

    def __init__(self, module: nn.Module, mode: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.module, self.mode = module, mode

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph."""
        with self.mode():
            return self.module(*inputs)


class CoarsePrompts(nn.Module):
    """A decoder graph whose point coordinates have been rounded.

    Args:
        module: a graph's module, whose inputs are named.
        names: of its inputs, in order.
        change: coordinates -> what it gets.
    """

    def __init__(
        self, module: nn.Module, names: Sequence[str], change: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.module, self.names, self.change = module, tuple(names), change

    def forward(self, *inputs: Tensor) -> Any:
        """Run the graph."""
        given = (
            self.change(value) if name == "point_coords" else value
            for name, value in zip(self.names, inputs, strict=True)
        )
        return self.module(*given)


def in_steps(size: int) -> Callable[[Tensor], Tensor]:
    """Round places in a picture of `size` pixels a side to 256 steps."""
    return lambda xy: torch.round(xy * 255 / size) * size / 255


def in_half(xy: Tensor) -> Tensor:
    """Round to float16."""
    return xy.half().float()
