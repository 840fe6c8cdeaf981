"""EfficientSAM's encoders and mask decoder (Xiong et al. 2023, arXiv 2312.00863).

Reference: yformer/EfficientSAM, `efficient_sam/efficient_sam.py`, `efficient_sam_encoder.py`,
`efficient_sam_decoder.py`, `two_way_transformer.py`. The image encoder is EfficientTAM's plain ViT
without windows. The decoder resembles SAM's; each class here states the difference. It takes no
earlier mask, and the image embeddings get no dense prompt.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.efficient_tam import PlainNeck, PlainSize, PlainViT
from exporter.models.mask_decoder import (
    DecoderSize,
    MaskDecoder,
    TwoWayBlock,
    TwoWayTransformer,
)
from exporter.models.prompt_encoder import PositionedPrompts
from exporter.models.sam import Geometry

POINTS = 6
"""Prompt tokens, always: the published code pads to this number, and reads no further prompt."""

PADDING_PLACE = -1.0
"""x and y of the padding, in pixels of the input."""


class EfficientSamEncoder(nn.Module):
    """Normalised image -> image embedding."""

    def __init__(self, size: PlainSize) -> None:
        super().__init__()
        self.trunk = PlainViT(size)
        self.neck = PlainNeck(size.width, size.out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3, S, S) -> (1, C, h, w)."""
        embedding: Tensor = self.neck(self.trunk(x))
        return embedding


class EfficientSamPromptEncoder(PositionedPrompts):
    """Points and box corners -> six tokens.

    A label's embedding is ADDED to the position. The background has none: such a point is its
    position alone. Padding has a position too, so it is a token like any other and attended to;
    labels -1 and -2 both stand for it, and slots missing from the graph's inputs are added inside.
    """

    labels: Tensor
    has_position: Tensor
    label_weight: Tensor

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__(width, grid, size)
        self.not_a_point_embed = nn.Embedding(1, width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(3))
        labels = torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0])
        self.register_buffer("labels", labels, persistent=False)
        has_position = (labels >= 0).float().unsqueeze(1)
        self.register_buffer("has_position", has_position, persistent=False)
        self.frozen = False

    def label_table(self) -> Tensor:
        """(5, C): added to a token by labels -1 (with its position), 0, 1, 2, 3."""
        padding = self.pe_layer(torch.full((1, 2), PADDING_PLACE), self.size)
        padding = padding + self.not_a_point_embed.weight
        point, top_left, bottom_right = cast("list[nn.Embedding]", list(self.point_embeddings))
        background = torch.zeros_like(point.weight)
        kinds = [padding, background, point.weight, top_left.weight, bottom_right.weight]
        return torch.cat(kinds, dim=0)

    def freeze_tables(self) -> None:
        """Keep the table, so that no graph builds it."""
        self.register_buffer("label_weight", self.label_table().clone(), persistent=False)
        self.frozen = True

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the prompts.

        Args:
            point_coords: (B, N, 2) x, y in pixels of the S x S input, N at most 6. Coordinates of
                padding do not matter.
            point_labels: (B, N) in {1, 0, 2, 3, -1, -2}, whole numbers as floats.

        Returns:
            Tokens (B, 6, C), and zeros (B, 6): every one of them is a key.
        """
        table = self.label_weight if self.frozen else self.label_table()
        kinds = F.relu(point_labels + 1.0) - 1.0  # -2 becomes -1
        # relu(1 - |a - b|) is (a == b) for whole numbers, without a boolean: a comparison would
        # split the TFLite graph into two XNNPACK partitions.
        is_label = F.relu(1.0 - (kinds.unsqueeze(-1) - self.labels).abs())
        positions = self.pe_layer(point_coords, self.size)
        tokens = positions * (is_label @ self.has_position) + is_label @ table
        batch, slots, _ = tokens.shape
        if slots < POINTS:
            padding = table[:1].unsqueeze(0)
            rows = torch.cat([padding] * (POINTS - slots), dim=1)
            tokens = torch.cat([tokens, torch.cat([rows] * batch, dim=0)], dim=1)
        return tokens, torch.zeros(batch, POINTS)


class EfficientSamBlock(TwoWayBlock):
    """SAM's block with another self-attention."""

    def mix_tokens(self, tokens: Tensor, token_pe: Tensor, key_bias: Tensor) -> Tensor:
        """Always with a residual; from the second block on the positions stay in the tokens."""
        if not self.first:
            tokens = tokens + token_pe
        out: Tensor = tokens + self.self_attn(tokens, tokens, tokens, key_bias)
        return out


class WholeNorm(nn.Module):
    """GroupNorm with one group, on tokens: over the channels of all pixels together.

    A float16 sum of a million values would lose most of them: the mean is taken over the channels,
    then over the columns, then over the rows. All parts are of one size, so the mean is the same.
    """

    def __init__(self, channels: int, side: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.side, self.eps = side, eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, side**2, C) -> the same shape."""
        square = x.reshape(x.shape[0], self.side, self.side, x.shape[-1])
        square = square - _mean(square)
        variance = _mean(square * square)
        normed = square * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        return normed.reshape(x.shape)


def _mean(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, 1, 1, 1)."""
    for axis in (3, 2, 1):
        x = x.mean(dim=axis, keepdim=True)
    return x


class EfficientSamMaskDecoder(MaskDecoder):
    """GELU for every ReLU, blocks of its own, and a norm over the whole picture when upscaling."""

    def __init__(self, grid: int) -> None:
        size = DecoderSize(activation=F.gelu)
        super().__init__(size, grid)
        self.transformer = TwoWayTransformer(size, EfficientSamBlock)
        self.output_upscaling[1] = WholeNorm(size.width // 4, 2 * grid)


class EfficientSam(nn.Module):
    """The three published parts, named as in `exporter.models.sam.Sam`."""

    def __init__(self, size: PlainSize) -> None:
        super().__init__()
        self.geometry = Geometry(size.image_size, size.grid)
        self.image_encoder = EfficientSamEncoder(size)
        self.prompt_encoder = EfficientSamPromptEncoder(size.out_width, size.grid, size.image_size)
        self.mask_decoder = EfficientSamMaskDecoder(size.grid)
