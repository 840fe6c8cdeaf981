"""RWKV-SAM: its encoder's neck and finer maps, and its mask decoder.

Reference: HarborYuan/ovsam, `projects/rwkvsam` (`SAMRWKVHRMaskDecoderMLPMerge`). The published
decoder joins its upscaled feature (32 channels at a fourth of the image's side) with two maps of
the encoder, and convolves them:

    [feature, eighth, fourth] -> 3x3, 96 to 64 -> norm, GELU -> 3x3, 64 to 32 -> + feature

The maps, and their share of the first convolution, follow from the image alone. Here the image
encoder computes both once, as `high_res_feats_0` (1, 64, S / 4, S / 4), and a prompt costs a third
of what it did: 4.3 for 12.1 GMACs at 1024 pixels.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor, nn

from exporter.models.layers import MLP, LayerNorm2d
from exporter.models.mask_decoder import DecoderSize, MaskDecoder, Upscale2x, unfold_children
from exporter.models.rwkv import EPS, Backbone, RwkvSize
from exporter.models.sam import SAM_DECODER, Geometry, Sam, geometry

PUBLISHED_TOKENS = 4
"""Rows of the token table and outputs of the IoU head; the first alone is used."""


class RwkvEncoder(nn.Module):
    """Normalised image -> image embedding, and the maps' share of the decoder's convolution."""

    def __init__(self, size: RwkvSize) -> None:
        super().__init__()
        first, second, width = size.widths
        out, middle = size.out_width, size.out_width // 4
        self.backbone = Backbone(size)
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, 1, bias=False),
            LayerNorm2d(out, EPS),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            LayerNorm2d(out, EPS),
        )
        self.hr_feat_proj = nn.Sequential(
            nn.Conv2d(first, middle, 3, padding=1),
            LayerNorm2d(middle, EPS),
            nn.GELU(),
            nn.Conv2d(middle, out // 8, 3, padding=1),
        )
        self.mr_feat_proj = nn.Sequential(
            Upscale2x(second, middle),
            nn.LayerNorm(middle, eps=EPS),
            nn.GELU(),
            nn.Conv2d(middle, out // 8, 3, padding=1),
        )
        self.mix_image = nn.Conv2d(out // 4, middle, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, S, S) -> (1, C, h, w), (1, C / 4, 4h, 4w)."""
        fourth, eighth, last = self.backbone(x)
        maps = torch.cat([self._enlarged(eighth), self.hr_feat_proj(fourth)], dim=1)
        return self.neck(last), self.mix_image(maps)

    def _enlarged(self, x: Tensor) -> Tensor:
        """`mr_feat_proj`: (1, Cin, H, W) -> (1, C / 8, 2H, 2W)."""
        upscale, norm, gelu, conv = self.mr_feat_proj
        height, width = x.shape[-2:]
        y = gelu(norm(upscale(x.flatten(2).transpose(1, 2))))
        # (y, x, dy, dx) becomes (y, dy, x, dx).
        y = y.reshape(height, width, 2, 2 * y.shape[-1]).permute(0, 2, 1, 3)
        y = y.reshape(1, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)
        out: Tensor = conv(y)
        return out


class RwkvMaskDecoder(MaskDecoder):
    """SAM's decoder with one mask, whose feature is mixed with the encoder's finer maps."""

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__(dataclasses.replace(size, mask_tokens=1), grid)
        width = size.width
        self.mask_tokens = nn.Embedding(PUBLISHED_TOKENS, width)
        self.iou_prediction_head = MLP(width, size.iou_hidden, PUBLISHED_TOKENS, 3, size.activation)
        self.mix_feat_proj = nn.Sequential(
            nn.Conv2d(width // 8, width // 4, 3, padding=1, bias=False),
            LayerNorm2d(width // 4, EPS),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 8, 3, padding=1),
        )

    def freeze_tables(self) -> None:
        """Keep what belongs to the one token."""
        last = cast("nn.Linear", self.iou_prediction_head.layers[-1])
        last.weight, last.bias = nn.Parameter(last.weight[:1]), nn.Parameter(last.bias[:1])
        self.mask_tokens.weight = nn.Parameter(self.mask_tokens.weight[:1])

    def output_tokens(self, batch: int) -> Tensor:
        """(B, 2, C): IoU, mask."""
        parts = [self.iou_token.weight, self.mask_tokens.weight[:1]]
        return torch.cat([torch.cat(parts, dim=0).unsqueeze(0)] * batch, dim=0)

    def forward(  # type: ignore[override]
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, key_bias: Tensor, maps: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the mask; see `MaskDecoder`.

        Args:
            image: (B, hw, C).
            image_pe: (1, hw, C).
            tokens: (B, 2 + N, C).
            key_bias: (B, 1, 1, 2 + N).
            maps: (1, C / 4, 4h, 4w), the encoder's second output.
        """
        tokens, image = self.transformer(tokens, image, image_pe, key_bias)
        return self.masks(image, self.mask_weights(tokens), maps), self.iou(tokens)

    def iou(self, tokens: Tensor) -> Tensor:
        """See `MaskDecoder.iou`."""
        every: Tensor = self.iou_prediction_head(tokens[:, 0])
        return every if every.shape[1] == 1 else every[:, :1]

    def masks(self, image: Tensor, weights: Tensor, maps: Tensor) -> Tensor:  # type: ignore[override]
        """See `MaskDecoder.masks`, and `forward` for the maps."""
        feature = unfold_children(self.output_upscaling(image), self.grid)
        first, norm, gelu, last = self.mix_feat_proj
        feature = feature + last(gelu(norm(first(feature) + maps)))
        batch, channels, side, _ = feature.shape
        # Image times token, not token times image: XNNPACK takes only the first.
        rows = feature.permute(0, 2, 3, 1).reshape(batch, side * side, channels)
        return (rows @ weights).transpose(1, 2).reshape(batch, -1, side, side)


class RwkvSam(Sam):
    """RWKV-SAM's encoder and decoder with SAM's prompt encoder."""

    def __init__(self, size: RwkvSize, decoder: DecoderSize = SAM_DECODER) -> None:
        shape: Geometry = geometry(size.image_size)
        super().__init__(RwkvEncoder(size), shape, decoder)
        self.mask_decoder = RwkvMaskDecoder(decoder, shape.grid)
