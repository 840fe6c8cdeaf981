"""SAM-Med3D's prompt encoder and mask decoder (arXiv 2310.15161), which FastSAM3D keeps.

Reference: arcadelab/FastSAM3D at 226dfb5, `modeling/prompt_encoder3D.py`, `mask_decoder3D.py`. The
transformer is SAM's. As published, the position code's last third repeats its first, cells have
their first two axes swapped against the points', and boxes have no embedding. Slots as in
`exporter.models.prompt_encoder`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.mask_decoder import DecoderSize, MaskDecoder
from exporter.models.prompt_encoder import EMPTY_LABEL, KEY_BIAS
from exporter.models.volume_encoder import VolumeViT
from exporter.models.volume_layers import Shrink2x3d, Upscale2x3d, fold_children, unfold_children

MASK_CHANNELS = 16
VOLUME_DECODER = DecoderSize(width=384)


class PositionEncoding3d(nn.Module):
    """Random Fourier features of a point: sines, cosines, and the sines again."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 3))

    def forward(self, places: Tensor, size: int) -> Tensor:
        """(..., 3) voxels of a cube of `size` a side, in array-axis order -> (..., width).

        A voxel's centre is half a voxel in. The published `(2 * (c + 0.5) / size - 1) @ G * 2 pi`
        is one product and one sum, as in `exporter.models.prompt_encoder.PositionEncoding`.
        """
        matrix = self.positional_encoding_gaussian_matrix
        weight = matrix * (4.0 * math.pi / size)
        offset = matrix.sum(0) * (2.0 * math.pi * (1.0 / size - 1.0))
        phase = places @ weight + offset
        sines = torch.sin(phase)
        return torch.cat([sines, torch.cos(phase), sines], dim=-1)


class PointwiseMask(nn.Module):
    """Holds the last convolution's tensors under their published names."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(width))


class VolumePromptEncoder(nn.Module):
    """Points and a previous mask -> tokens and a dense embedding.

    Args:
        width: channels of a token.
        grid: side of the embedding, in cells.
        size: side of the input, in voxels.
    """

    labels: Tensor
    has_position: Tensor
    dense_weight: Tensor
    sparse_table: Tensor

    def __init__(self, width: int, grid: int, size: int) -> None:
        super().__init__()
        self.grid, self.size = grid, size
        self.pe_layer = PositionEncoding3d(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(2))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            Shrink2x3d(1, MASK_CHANNELS // 4),
            nn.LayerNorm(MASK_CHANNELS // 4, eps=1e-6),
            nn.GELU(),
            Shrink2x3d(MASK_CHANNELS // 4, MASK_CHANNELS),
            nn.LayerNorm(MASK_CHANNELS, eps=1e-6),
            nn.GELU(),
            PointwiseMask(MASK_CHANNELS, width),
        )
        self.register_buffer("labels", torch.tensor([-1.0, 0.0, 1.0]), persistent=False)
        has = torch.tensor([[0.0], [1.0], [1.0]])
        self.register_buffer("has_position", has, persistent=False)

    def freeze_tables(self) -> None:
        """Keep the tables of labels and of the dense embedding, so that no graph builds them."""
        embeddings = [self.not_a_point_embed, *cast("list[nn.Embedding]", self.point_embeddings)]
        table = torch.cat([each.weight for each in embeddings], dim=0)
        self.register_buffer("sparse_table", table.clone(), persistent=False)
        last = cast("PointwiseMask", self.mask_downscaling[-1])
        columns = [last.weight.flatten(1), last.bias.unsqueeze(1), self.no_mask_embed.weight.t()]
        self.register_buffer("dense_weight", torch.cat(columns, dim=1), persistent=False)

    def dense_position(self) -> Tensor:
        """(1, grid**3, C): the position encoding of every cell's centre, axes 0 and 1 swapped."""
        cell = self.size / self.grid
        centres = (torch.arange(self.grid, dtype=torch.float32) + 0.5) * cell - 0.5
        first, second, third = torch.meshgrid(centres, centres, centres, indexing="ij")
        places = torch.stack([second, first, third], dim=-1).reshape(1, -1, 3)
        encoded: Tensor = self.pe_layer(places, self.size)
        return encoded

    def forward(self, point_coords: Tensor, point_labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the sparse prompts; see `exporter.models.prompt_encoder.PromptEncoder.forward`.

        Args:
            point_coords: (B, N, 3) voxels of the input, in array-axis order.
            point_labels: (B, N) in {1, 0, -1, -2}, whole numbers as floats.

        Returns:
            Tokens (B, N, C), and the bias (B, N) of attention logits with these as keys.
        """
        is_label = F.relu(1.0 - (point_labels.unsqueeze(-1) - self.labels).abs())
        positions = self.pe_layer(point_coords, self.size)
        tokens = positions * (is_label @ self.has_position) + is_label @ self.sparse_table
        key_bias = F.relu(1.0 - (point_labels - EMPTY_LABEL).abs()) * KEY_BIAS
        return tokens, key_bias

    def dense(self, mask_input: Tensor, has_mask_input: Tensor) -> Tensor:
        """Encode the previous mask.

        Args:
            mask_input: (B, 1, 16 * g**2, 4 * g) logits of an earlier `low_res_masks`, or zeros.
            has_mask_input: (B,) 1 or 0.

        Returns:
            (B, g**3, C), or the published "no mask" embedding where `has_mask_input` is 0.
        """
        x = fold_children(mask_input, self.grid)
        for layer in list(self.mask_downscaling)[:-1]:
            x = layer(x)
        given = has_mask_input.reshape(-1, 1, 1)
        which = torch.cat([given, 1.0 - given], dim=-1)
        x = F.pad(x * given, (0, 2)) + F.pad(which, (x.shape[-1], 0))
        return F.linear(x, self.dense_weight)


class VolumeMaskDecoder(MaskDecoder):
    """SAM's mask decoder, whose tokens are the cells of a volume."""

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__(size, grid)
        width = size.width
        self.output_upscaling = nn.Sequential(
            Upscale2x3d(width, width // 4),
            nn.LayerNorm(width // 4, eps=1e-6),
            nn.GELU(),
            Upscale2x3d(width // 4, width // 8),
            nn.GELU(),
        )

    def masks(self, image: Tensor, weights: Tensor) -> Tensor:
        """Upscale (B, g**3, C) and weigh it -> `low_res_masks` (B, M, 16 * g**2, 4 * g)."""
        return unfold_children(self.output_upscaling(image) @ weights, self.grid)


class VolumeSam(nn.Module):
    """The three published parts, under their published names."""

    def __init__(self, encoder: VolumeViT, decoder: DecoderSize = VOLUME_DECODER) -> None:
        super().__init__()
        size = encoder.size
        self.image_encoder = encoder
        self.prompt_encoder = VolumePromptEncoder(decoder.width, size.grid, size.volume_size)
        self.mask_decoder = VolumeMaskDecoder(decoder, size.grid)

    def forward(self, volume: Tensor) -> Tensor:
        """Normalised (1, S, S, S) -> embedding (1, C, g * g, g)."""
        embedding: Tensor = self.image_encoder(volume)
        return embedding
