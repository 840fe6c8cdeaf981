"""Modulated deformable 3 x 3 convolution (Zhu et al. 2019, arXiv 1811.11168) without an operation.

Each of the nine taps samples the picture at its place plus an offset of its own, bilinearly, and
zero outside; a mask in 0..1 weighs it. A 1 x 1 convolution and bilinear sampling are both linear,
so the convolution goes first: it halves the width of what is gathered. A sample is four gathered
rows times four weights that are zero outside.

An index is a sum of whole numbers, the tap's place and the floor of its offset, and the fraction is
the offset's own: no place of a large map is ever rounded, in float16 neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.resnet import fuse

TAPS = 9


class DeformableConv(nn.Module):
    """3 x 3, stride 1, padding 1, no bias, followed by a batch norm and ReLU.

    The 27 channels of `dcn_offset` are dy, dx of tap 0, of tap 1 and so on, row by row, and then
    the masks before their sigmoid: mmcv's order, whose source names them the other way round.

    Args:
        cin: input channels.
        cout: output channels.
        size: height and width of the map.
    """

    def __init__(self, cin: int, cout: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.cout = size, cout
        self.dcn_offset = nn.Conv2d(cin, 3 * TAPS, 3, padding=1)
        self.dcn = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
        self.dcn_bn = nn.BatchNorm2d(cout)
        height, width = size
        rows, columns = torch.arange(height).float(), torch.arange(width).float()
        places = (rows.repeat_interleave(width), columns.repeat(height))
        for name, place in zip(("rows", "columns"), places, strict=True):
            self.register_buffer(name, place.clone(), persistent=False)
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("taps", None, persistent=False)
        self.taps: Tensor | None

    def freeze_tables(self) -> None:
        """Fold the batch norm, and turn the kernel into one matrix for each tap."""
        fuse(self, "dcn", "dcn_bn")
        self.taps = self._matrices()

    def _matrices(self) -> Tensor:
        """(9, Cin, Cout), of the kernel."""
        return self.dcn.weight.detach().flatten(2).permute(2, 1, 0).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(1, Cin, H, W) -> (1, Cout, H, W)."""
        height, width = self.size
        told = self.dcn_offset(x).reshape(3 * TAPS, height * width)
        masks = torch.sigmoid(told[2 * TAPS :])
        pixels = x.reshape(x.shape[1], height * width).transpose(0, 1)
        taps = self._matrices() if self.taps is None else self.taps
        total = torch.zeros(1) if self.dcn.bias is None else self.dcn.bias
        for tap in range(TAPS):
            index, weights = self._corners(tap, told[2 * tap], told[2 * tap + 1], masks[tap])
            table = pixels @ taps[tap]
            rows = torch.index_select(table, 0, index) * weights.unsqueeze(1)
            total = total + rows.reshape(4, height * width, self.cout).sum(dim=0)
        out = total.transpose(0, 1).reshape(1, self.cout, height, width)
        return F.relu(self.dcn_bn(out))

    def _corners(self, tap: int, dy: Tensor, dx: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Find a tap's four neighbours: (4 H W,) rows of the table, and their weights."""
        height, width = self.size
        low_y, low_x = torch.floor(dy), torch.floor(dx)
        part_y, part_x = dy - low_y, dx - low_x
        top = self.rows + float(tap // 3 - 1) + low_y
        left = self.columns + float(tap % 3 - 1) + low_x
        rows = [_inside(top, height), _inside(top + 1.0, height)]
        columns = [_inside(left, width), _inside(left + 1.0, width)]
        tall = [(1.0 - part_y) * rows[0][1] * mask, part_y * rows[1][1] * mask]
        wide = [(1.0 - part_x) * columns[0][1], part_x * columns[1][1]]
        index = [row * width + column for row, _ in rows for column, _ in columns]
        weights = [a * b for a in tall for b in wide]
        return torch.cat(index), torch.cat(weights)


def _inside(place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Clip whole numbers to 0..size - 1: the index, and 1 where nothing was clipped, else 0."""
    clipped = place.clamp(0.0, float(size - 1))
    return clipped.to(torch.int32), 1.0 - (place - clipped).abs().clamp(max=1.0)
