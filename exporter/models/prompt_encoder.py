"""SAM's prompt encoder with static shapes (Kirillov et al. 2023, section 3 and appendix A).

Reference: facebookresearch/segment-anything, `modeling/prompt_encoder.py`. The tensor names are
those of the published checkpoints. What differs is how it lowers: the label of a slot picks its
embedding by a product, not by boolean indexing, and a slot with label -2 is empty.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import LayerNorm2d

EMPTY_LABEL = -2.0
"""The label of a slot that no attention sees."""

KEY_BIAS = -1.0e4
"""Added to the attention logits of an empty slot: exp(-1e4) is 0, and float16 holds -1e4."""


_MaskLayers = tuple[nn.Conv2d, LayerNorm2d, nn.GELU, nn.Conv2d, LayerNorm2d, nn.GELU, nn.Conv2d]


class PositionEncoding(nn.Module):
    """Random Fourier features of a point (Tancik et al. 2020)."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, features))

    def forward(self, xy: Tensor, size: int, scale: float = 1.0) -> Tensor:
        """(..., 2) places in a size x size square -> (..., 2 * features).

        `xy` times `scale` are pixels of that square. A pixel's centre is half a pixel in. The
        published `(2 * (scale * xy + 0.5) / size - 1) @ G * 2 pi` is one product and one sum here,
        so that a lowering can keep just these in float32.
        """
        matrix = self.positional_encoding_gaussian_matrix
        weight = matrix * (4.0 * math.pi * scale / size)
        offset = matrix.sum(0) * (2.0 * math.pi * (1.0 / size - 1.0))
        phase = xy @ weight + offset
        return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)


class PositionedPrompts(nn.Module):
    """The part that prompt encoders share: positions in a square.

    Args:
        width: channels of a token.
        grid: side of the square embedding, in cells.
        size: side of the square in which positions are encoded, in pixels.
        scale: pixels of that square for one pixel of the input image.
    """

    def __init__(self, width: int, grid: int, size: int, scale: float = 1.0) -> None:
        super().__init__()
        self.grid, self.size, self.scale = grid, size, scale
        self.pe_layer = PositionEncoding(width // 2)

    def dense_position(self) -> Tensor:
        """(1, h * w, C): the position encoding of the centre of every cell."""
        cell = self.size / self.grid
        centres = (torch.arange(self.grid, dtype=torch.float32) + 0.5) * cell - 0.5
        rows, cols = torch.meshgrid(centres, centres, indexing="ij")
        grid = torch.stack([cols, rows], dim=-1).reshape(1, self.grid * self.grid, 2)
        encoded: Tensor = self.pe_layer(grid, self.size)
        return encoded


class PromptEncoder(PositionedPrompts):
    """Points, box corners and a previous mask -> tokens and a dense embedding.

    Args:
        width: channels of a token.
        grid: side of the square embedding, in cells.
        size: side of the square in which positions are encoded, in pixels.
        mask_channels: channels of the mask branch's second convolution.
        scale: pixels of that square for one pixel of the input image.
    """

    def __init__(
        self, width: int, grid: int, size: int, mask_channels: int = 16, *, scale: float = 1.0
    ) -> None:
        super().__init__(width, grid, size, scale)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, width, kernel_size=1),
        )
        self.frozen = False
        labels = torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0])
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer(
            "has_position", torch.tensor([[0.0], [1.0], [1.0], [1.0], [1.0]]), persistent=False
        )
        self.labels: Tensor
        self.dense_weight: Tensor
        self.has_position: Tensor

    def label_table(self) -> Tensor:
        """(5, C): the embedding of labels -1, 0, 1, 2, 3."""
        embeddings = [self.not_a_point_embed, *cast("list[nn.Embedding]", self.point_embeddings)]
        return torch.cat([embedding.weight for embedding in embeddings], dim=0)

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the sparse prompts.

        Args:
            point_coords: (B, N, 2) x, y in pixels of the S x S input.
            point_labels: (B, N) in {1, 0, 2, 3, -1, -2}, whole numbers as floats.

        Returns:
            Tokens (B, N, C), and the bias (B, N) to add to attention logits with these as keys.
        """
        # relu(1 - |a - b|) is (a == b) for whole numbers, without a boolean: a comparison would
        # split the TFLite graph into two XNNPACK partitions.
        is_label = F.relu(1.0 - (point_labels.unsqueeze(-1) - self.labels).abs())
        positions = self.pe_layer(point_coords, self.size, self.scale)
        tokens = positions * (is_label @ self.has_position) + is_label @ self.label_table()
        key_bias = F.relu(1.0 - (point_labels - EMPTY_LABEL).abs()) * KEY_BIAS
        return tokens, key_bias

    def dense(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Encode the previous mask.

        Args:
            mask_input: (B, 1, 4h, 4w) logits of a previous `low_res_masks`, or zeros.
            has_mask_input: (B,) 1 or 0.

        Returns:
            (B, h * w, C), or the published "no mask" embedding where `has_mask_input` is 0.
        """
        layers = cast("_MaskLayers", tuple(self.mask_downscaling))
        conv1, norm1, gelu1, conv2, norm2, gelu2, _ = layers
        x = conv2(gelu1(norm1(conv1(mask_input))))
        # The last norm and the 1x1 convolution work on tokens: 16 channels change places, not 256.
        x = x.flatten(2).transpose(1, 2)
        x = gelu2(F.layer_norm(x, norm2.weight.shape, norm2.weight, norm2.bias, norm2.eps))
        given = has_mask_input.reshape(-1, 1, 1)
        which = torch.cat([given, 1.0 - given], dim=-1)
        x = F.pad(x * given, (0, 2)) + F.pad(which, (x.shape[-1], 0))
        return F.linear(x, self.dense_weight if self.frozen else self.dense_table())

    def dense_table(self) -> Tensor:
        """(C, channels + 2): the 1x1 convolution, its bias, and the "no mask" embedding.

        The last two columns belong to the channels that say whether a mask is given: one product
        then does what a product, a selection and two sums over all cells did.
        """
        last = cast("nn.Conv2d", self.mask_downscaling[-1])
        bias = cast(Tensor, last.bias).unsqueeze(1)
        return torch.cat([last.weight.flatten(1), bias, self.no_mask_embed.weight.t()], dim=1)

    def freeze_tables(self) -> None:
        """Keep the dense table, so that no graph builds it."""
        self.register_buffer("dense_weight", self.dense_table().clone(), persistent=False)
        self.frozen = True
