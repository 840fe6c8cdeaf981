"""SAM 2's image path (Ravi et al. 2024, arXiv 2408.00714): neck, mask decoder, and their joints.

Reference: facebookresearch/sam2, `sam2/modeling/backbones/image_encoder.py`, `sam/mask_decoder.py`,
`sam2_image_predictor.py`. Tensor names as published, except for those that act on the image alone
and so belong to the encoder here: `no_mem_embed`, and the decoder's `conv_s0`, `conv_s1`.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.mask_decoder import DecoderSize, MaskDecoder, unfold_children
from exporter.models.sam import SAM_DECODER, SAM_GEOMETRY, Geometry, Sam

WIDTH = 256
"""Channels of every level of the neck."""


class Lateral(nn.Module):
    """Project a stage's map to the neck's width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv: nn.Module = nn.Conv2d(width, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, C, H, W)."""
        out: Tensor = self.conv(x)
        return out


class FeaturePyramid(nn.Module):
    """The neck: `convs.0` belongs to the LAST stage, as published."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(width) for width in reversed(widths))

    def levels(self) -> list[Lateral]:
        """Laterals of the last stage, of the one before it ..."""
        return cast("list[Lateral]", list(self.convs))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of four stages -> maps of strides 4, 8 and 16, at the neck's width.

        Only the last of the three gets a contribution from the stage below, used for nothing else.
        """
        fourth, third, second, first = self.levels()
        coarse = third(maps[2]) + nearest_2x(fourth(maps[3]))
        return first(maps[0]), second(maps[1]), coarse


def nearest_2x(x: Tensor) -> Tensor:
    """(1, C, H, W) -> (1, C, 2H, 2W): every pixel four times.

    The map is joined with itself, first along the columns and then along the rows: a resize would
    be an XNNPACK partition of its own in TFLite.
    """
    _, channels, height, width = x.shape
    x = x.permute(0, 2, 3, 1).reshape(height, width, channels)
    x = torch.cat([x, x], dim=-1).reshape(height, 1, 2 * width * channels)
    x = torch.cat([x, x], dim=1).reshape(1, 2 * height, 2 * width, channels)
    return x.permute(0, 3, 1, 2)


class Sam2Encoder(nn.Module):
    """Normalised image -> image embedding and two maps of higher resolution.

    Args:
        trunk: normalised image -> four maps, a module with their `widths`.
    """

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.neck = FeaturePyramid(cast("tuple[int, ...]", trunk.widths))
        self.conv_s0 = nn.Conv2d(WIDTH, WIDTH // 8, 1)
        self.conv_s1 = nn.Conv2d(WIDTH, WIDTH // 4, 1)
        self.no_mem_embed: nn.Parameter | None = nn.Parameter(torch.zeros(1, 1, WIDTH))

    def freeze_tables(self) -> None:
        """Fold the operations after the neck's convolutions into them.

            conv_s0(first(x)), conv_s1(second(x))   become   one 1x1 convolution each
            third(x) + no_mem_embed                 becomes  third with another bias

        Nothing stands between them, so this is exact up to rounding, and no map of 256 channels is
        ever made at a fourth or an eighth of the image's side.
        """
        if self.no_mem_embed is None:
            return
        _, third, second, first = self.neck.levels()
        self.conv_s0, first.conv = _compose(self.conv_s0, first.conv), nn.Identity()
        self.conv_s1, second.conv = _compose(self.conv_s1, second.conv), nn.Identity()
        third.conv = _with_bias(third.conv, self.no_mem_embed.flatten())
        self.no_mem_embed = None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, 3, S, S) -> (1, C, h, w), (1, C / 8, 4h, 4w), (1, C / 4, 2h, 2w)."""
        fine, middle, coarse = self.neck(self.trunk(x))
        if self.no_mem_embed is not None:
            coarse = coarse + self.no_mem_embed.reshape(1, WIDTH, 1, 1)
        return coarse, self.conv_s0(fine), self.conv_s1(middle)


def _compose(after: nn.Conv2d, before: nn.Module) -> nn.Conv2d:
    """Compose two 1x1 convolutions."""
    first = cast("nn.Conv2d", before)
    conv = nn.Conv2d(first.in_channels, after.out_channels, 1)
    matrix = after.weight.flatten(1)
    conv.weight = nn.Parameter((matrix @ first.weight.flatten(1))[..., None, None])
    bias, last = cast("Tensor", first.bias), cast("Tensor", after.bias)
    conv.bias = nn.Parameter(matrix @ bias + last)
    return conv


def _with_bias(given: nn.Module, more: Tensor) -> nn.Conv2d:
    """Make a convolution that adds `more` (C) to the output of `given`; the weight is shared."""
    conv = cast("nn.Conv2d", given)
    other = nn.Conv2d(conv.in_channels, conv.out_channels, 1)
    other.weight = conv.weight
    other.bias = nn.Parameter(cast("Tensor", conv.bias) + more)
    return other


class Sam2MaskDecoder(MaskDecoder):
    """SAM's decoder with an object-score token, IoU in 0..1 and maps of higher resolution.

    The object score itself is for video only; its token takes part in every attention.
    """

    before_masks = 2

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__(size, grid)
        self.obj_score_token = nn.Embedding(1, size.width)

    def output_tokens(self, batch: int) -> Tensor:
        """(B, 2 + M, C): object score, IoU, masks."""
        parts = [self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight]
        return torch.cat([torch.cat(parts, dim=0).unsqueeze(0)] * batch, dim=0)

    def forward(
        self,
        image: Tensor,
        image_pe: Tensor,
        tokens: Tensor,
        key_bias: Tensor,
        fine: Tensor | None = None,
        middle: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Predict every mask; see `MaskDecoder`.

        Args:
            image: (B, hw, C).
            image_pe: (1, hw, C).
            tokens: (B, 2 + M + N, C).
            key_bias: (B, 1, 1, 2 + M + N).
            fine: (1, C / 8, 4h, 4w), added before the upscaling's last GELU; None if a family has
                no such maps.
            middle: (1, C / 4, 2h, 2w), added before its norm.
        """
        tokens, image = self.transformer(tokens, image, image_pe, key_bias)
        masks = self.masks(image, self.mask_weights(tokens), fine, middle)
        return masks, self.iou(tokens), *self.heads(tokens)

    def iou(self, tokens: Tensor) -> Tensor:
        """See `MaskDecoder.iou`."""
        return F.sigmoid(self.iou_prediction_head(tokens[:, 1]))

    def masks(
        self,
        image: Tensor,
        weights: Tensor,
        fine: Tensor | None = None,
        middle: Tensor | None = None,
    ) -> Tensor:
        """See `MaskDecoder.masks`, and `forward` for the maps."""
        up1, norm, act1, up2, act2 = self.output_upscaling
        x = up1(image)
        x = act1(norm(x if middle is None else x + fold_children(middle, self.grid)))
        x = up2(x)
        x = act2(x if fine is None else x + fold_grandchildren(fine, self.grid))
        return unfold_children(x @ weights, self.grid)

    def heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Predict what else a kind of decoder says of its tokens (B, 2 + M + N, C)."""
        del tokens
        return ()


def fold_children(x: Tensor, grid: int) -> Tensor:
    """Put a picture in the order of `Upscale2x`: (1, C, 2 * grid, 2 * grid) -> (1, 4 * grid**2, C).

    (y, dy, x, dx) becomes (y, x, dy, dx).
    """
    channels = x.shape[1]
    x = x.permute(0, 2, 3, 1).reshape(grid, 2, grid, 2 * channels).permute(0, 2, 1, 3)
    return x.reshape(1, 4 * grid * grid, channels)


def fold_grandchildren(x: Tensor, grid: int) -> Tensor:
    """Undo `unfold_children`: (1, C, 4 * grid, 4 * grid) -> (1, 16 * grid**2, C)."""
    channels = x.shape[1]
    x = x.permute(0, 2, 3, 1).reshape(2 * grid, 2, 2 * grid, 2 * channels).permute(0, 2, 1, 3)
    x = x.reshape(grid, 2, grid, 8 * channels).permute(0, 2, 1, 3)
    return x.reshape(1, 16 * grid * grid, channels)


class Sam2(Sam):
    """An image encoder with SAM's prompt encoder and SAM 2's mask decoder."""

    def __init__(self, encoder: nn.Module, geometry: Geometry = SAM_GEOMETRY) -> None:
        super().__init__(encoder, geometry)
        self.mask_decoder = Sam2MaskDecoder(SAM_DECODER, geometry.grid)
