"""Small layers every family uses, written so that each target keeps them as one operation."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of an (B, C, H, W) tensor.

    The published form (mean, square, root, divide over axis 1) becomes eight operations in every
    target. Moving the channels last makes it one `layer_norm` between two transposes.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        channels_last = x.permute(0, 2, 3, 1)
        shape = self.weight.shape
        normed = F.layer_norm(channels_last, shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class MLP(nn.Module):
    """Linear layers with ReLU, or another activation, between them: hypernetworks and IoU head."""

    def __init__(
        self, width: int, hidden: int, out: int, depth: int, activation: Activation = F.relu
    ) -> None:
        super().__init__()
        self.activation = activation
        widths = [width] + [hidden] * (depth - 1) + [out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., out)."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        out: Tensor = self.layers[-1](x)
        return out


class Normalise(nn.Module):
    """RGB in 0..255 to the published network's input, inside the graph.

    `(x - mean) / std` is split into an exact part and a small one,
    `(x - round(mean)) / std + (round(mean) - mean) / std`: pixels and the rounded mean are small
    integers, which float16 holds exactly, so the float16 graph loses nothing here but one rounding.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        exact = torch.tensor(mean, dtype=torch.float64).round()
        spread = torch.tensor(std, dtype=torch.float64)
        rest = (exact - torch.tensor(mean, dtype=torch.float64)) / spread
        for name, values in (("centre", exact), ("scale", 1.0 / spread), ("rest", rest)):
            self.register_buffer(name, values.float().reshape(1, 3, 1, 1), persistent=False)
        self.centre: Tensor
        self.scale: Tensor
        self.rest: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """(1, 3, S, S) in 0..255 -> (1, 3, S, S) normalised."""
        return (image - self.centre) * self.scale + self.rest


def linear_of(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Make a linear layer with copies of these: weight (out, in) and bias (out)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer


def window_partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window * window, C), never above rank 4.

    H and W are multiples of `window`. The published code goes through rank 6, which the GPU
    delegates of phones refuse.
    """
    batch, height, width, channels = x.shape
    rows, cols = height // window, width // window
    x = x.reshape(batch * rows, window, cols, window * channels).permute(0, 2, 1, 3)
    return x.reshape(batch * rows * cols, window * window, channels)


def window_merge(x: Tensor, window: int, batch: int, height: int, width: int) -> Tensor:
    """Undo `window_partition`: (B * windows, window * window, C) -> (B, H, W, C)."""
    rows, cols, channels = height // window, width // window, x.shape[-1]
    x = x.reshape(batch * rows, cols, window, window * channels).permute(0, 2, 1, 3)
    return x.reshape(batch, height, width, channels)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, heads * d) -> (B, heads, N, d)."""
    batch, tokens, channels = x.shape
    return x.reshape(batch, tokens, heads, channels // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, heads * d)."""
    batch, heads, tokens, width = x.shape
    return x.transpose(1, 2).reshape(batch, tokens, heads * width)


def freeze(model: nn.Module) -> nn.Module:
    """Compute every table that depends on weights only; call it once, after loading, before use.

    A module that has such tables defines `freeze_tables()` and keeps them as non-persistent
    buffers, so no graph gathers from a parameter at run time and no checkpoint name is added.
    """
    for module in model.modules():
        compute = getattr(module, "freeze_tables", None)
        if compute is not None:
            with torch.no_grad():
                compute()
    return model.eval().requires_grad_(False)
