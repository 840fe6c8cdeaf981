"""Three-dimensional layers as products and two-dimensional convolutions of rank 4 at most.

Reference: arcadelab/FastSAM3D at 226dfb5, which takes SAM-Med3D's layers. Every parameter has its
published name and shape; `freeze_tables` brings it to the form that runs. All forms are exact up to
the order of sums: `tests/unit/models/test_volume_layers.py` holds each against torch's own.

A volume's axes are z, y, x here: array axes 0, 1, 2, whatever they mean in a patient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from exporter.models.layers import linear_of

CHILDREN = 8
"""Cells that take the place of one when every side doubles."""


class PatchConv3d(nn.Module):
    """A convolution whose kernel P is its stride, on a volume of one channel.

    Planes of a patch are channels of a two-dimensional convolution, and the rows of patches along z
    its batch: no value moves.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.zeros(channels, 1, patch, patch, patch))
        self.bias = nn.Parameter(torch.zeros(channels))

    def freeze_tables(self) -> None:
        """Make the convolution of planes."""
        self.planes = _conv2d(self.weight.squeeze(1), self.bias, stride=self.patch)

    def forward(self, volume: Tensor) -> Tensor:
        """(1, S, S, S) -> (S / P, C, S / P, S / P): a picture for each step along z."""
        side = volume.shape[-1]
        out: Tensor = self.planes(volume.reshape(side // self.patch, self.patch, side, side))
        return out


class Conv3x3x3(nn.Module):
    """A convolution over 3 x 3 x 3 cells with a padding of 1 and no bias.

    The pictures before and after a picture along z join it as channels: one two-dimensional
    convolution then sums all 27 cells.
    """

    border: Tensor

    def __init__(self, channels: int, grid: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 3, 3))
        border = torch.zeros(1, channels, grid, grid)
        self.register_buffer("border", border, persistent=False)

    def freeze_tables(self) -> None:
        """Make the convolution over three pictures' channels."""
        weight = self.weight.permute(0, 2, 1, 3, 4).flatten(1, 2)
        self.joined = _conv2d(weight, None, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(Z, C, Y, X) -> the same shape."""
        padded = torch.cat([self.border, pictures, self.border], dim=0)
        depth = pictures.shape[0]
        out: Tensor = self.joined(torch.cat([padded[i : i + depth] for i in range(3)], dim=1))
        return out


class Upscale2x3d(nn.Module):
    """A 2 x 2 x 2, stride 2 transposed convolution as one linear layer on tokens.

    Each token becomes its eight children in the order (dz, dy, dx), as `Upscale2x` does in a plane.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.channels_out = channels_out
        self.weight = nn.Parameter(torch.zeros(channels_in, channels_out, 2, 2, 2))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def freeze_tables(self) -> None:
        """Make the linear layer, with weight (8 * Cout, Cin)."""
        weight = self.weight.permute(2, 3, 4, 1, 0).flatten(0, 3)
        self.linear = linear_of(weight, self.bias.repeat(CHILDREN))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, Cin) -> (B, 8n, Cout)."""
        batch, tokens, _ = x.shape
        out: Tensor = self.linear(x).reshape(batch, CHILDREN * tokens, self.channels_out)
        return out


class Shrink2x3d(nn.Module):
    """A 2 x 2 x 2, stride 2 convolution as one linear layer on a token's children."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels_out, channels_in, 2, 2, 2))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def freeze_tables(self) -> None:
        """Make the linear layer, with weight (Cout, 8 * Cin): children first, then channels."""
        weight = self.weight.permute(0, 2, 3, 4, 1).flatten(1)
        self.linear = linear_of(weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 8n, Cin) -> (B, n, Cout)."""
        batch, tokens, channels = x.shape
        out: Tensor = self.linear(x.reshape(batch, tokens // CHILDREN, CHILDREN * channels))
        return out


def unfold_children(x: Tensor, grid: int) -> Tensor:
    """Twice-upscaled tokens to volumes: (B, 64 * grid**3, M) -> (B, M, 16 * grid**2, 4 * grid).

    The tokens lie in the order (z, y, x, z1, y1, x1, z2, y2, x2), where z1 and z2 are the places
    among the children along z. Four swaps at rank 4 give (z, z1, z2, y, y1, y2, x, x1, x2); the
    first two axes of the volume are one of the result.
    """
    batch, cells, masks = x.shape
    for before, first, second in _moves(batch, grid):
        x = _swap(x, before, first, second)
    return x.reshape(batch, cells, masks).transpose(1, 2).reshape(batch, masks, -1, 4 * grid)


def fold_children(x: Tensor, grid: int) -> Tensor:
    """Undo `unfold_children` of one volume: (B, 1, 16 * grid**2, 4 * grid) -> (B, 64 * g**3, 1)."""
    batch = x.shape[0]
    for before, first, second in reversed(_moves(batch, grid)):
        x = _swap(x, before, second, first)
    return x.reshape(batch, -1, 1)


def _moves(batch: int, grid: int) -> Sequence[tuple[int, int, int]]:
    """The swaps of `unfold_children`: values before the two axes, and the sides of both."""
    z = batch * grid
    return (
        (z, grid * grid, 2),  # (y x)(z1)
        (2 * z, 4 * grid * grid, 2),  # (y x y1 x1)(z2)
        (4 * z * grid, grid, 2),  # (x)(y1)
        (8 * z * grid, 2 * grid, 2),  # (x x1)(y2)
    )


def _swap(x: Tensor, before: int, first: int, second: int) -> Tensor:
    return x.reshape(before, first, second, -1).permute(0, 2, 1, 3)


def _conv2d(weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    out, channels, side, _ = weight.shape
    given = bias is not None
    conv = nn.Conv2d(channels, out, side, stride, padding, bias=given, device="meta")
    conv.weight = nn.Parameter(weight.clone())
    conv.bias = None if bias is None else nn.Parameter(bias.clone())
    return conv
