"""SAM-HQ: a SAM whose decoder has one more token and sees an early feature map of its encoder.

Reference: SysCV/sam-hq, `segment_anything/modeling/mask_decoder_hq.py`, `image_encoder.py` and
`tiny_vit_sam.py`. The published decoder computes a map from the image alone, on every prompt; here
the image encoder computes it once, as `high_res_feats_0`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from exporter.models.layers import MLP, LayerNorm2d
from exporter.models.mask_decoder import DecoderSize, MaskDecoder, Upscale2x, unfold_children
from exporter.models.sam import SAM_DECODER, SAM_GEOMETRY, Geometry, Sam
from exporter.models.tiny_vit import TinyViT
from exporter.models.vit import ViT


class TappedViT(ViT):
    """A ViT that also returns the output of its first global block."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, 3, S, S) -> image embedding (B, C, h, w), early features (B, hw, D)."""
        x = self.patch_embed(x) + self.pos_embed
        early: Tensor | None = None
        for block in self.blocks:
            x = block(x)
            if early is None and not block.window:
                early = x.flatten(1, 2)
        if early is None:
            raise ValueError("SAM-HQ taps the first global block, and this ViT has none")
        return self.neck(x.permute(0, 3, 1, 2)), early

    @property
    def tapped_width(self) -> int:
        """D."""
        return self.size.width


class TappedTinyViT(TinyViT):
    """A TinyViT that also returns its second stage's output, merged to the embedding's grid."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(B, 3, S, S) -> image embedding (B, C, h, w), early features (B, hw, D)."""
        x = self.layers[0](self.patch_embed(x))
        x = self.layers[1](x)
        early = x.flatten(2).transpose(1, 2)
        for layer in self.layers[2:]:
            x = layer(x)
        return self.neck(x), early

    @property
    def tapped_width(self) -> int:
        """D: the second stage's merging makes it the third stage's width."""
        return self.size.widths[2]


def _upscaling(width: int, middle: int, out: int) -> nn.Sequential:
    """Two 2x2 transposed convolutions on tokens: (B, hw, width) -> (B, 16 hw, out)."""
    return nn.Sequential(
        Upscale2x(width, middle), nn.LayerNorm(middle, eps=1e-6), nn.GELU(), Upscale2x(middle, out)
    )


class HqEncoder(nn.Module):
    """Normalised image -> image embedding and the map that sharpens masks.

    Args:
        trunk: TappedViT or TappedTinyViT.
        width: C of the embedding.
        grid: its side in cells.
    """

    def __init__(self, trunk: TappedViT | TappedTinyViT, width: int, grid: int) -> None:
        super().__init__()
        self.trunk, self.grid = trunk, grid
        self.compress_vit_feat = _upscaling(trunk.tapped_width, width, width // 8)
        self.embedding_encoder = _upscaling(width, width // 4, width // 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, S, S) -> (1, C, h, w), (1, C / 8, 4h, 4w)."""
        embedding, early = self.trunk(x)
        tokens = embedding.flatten(2).transpose(1, 2)
        sharp = self.embedding_encoder(tokens) + self.compress_vit_feat(early)
        return embedding, unfold_children(sharp, self.grid)


class HqMaskDecoder(MaskDecoder):
    """SAM's decoder with the high-quality token; its mask is added to each of SAM's four.

    The published code adds it to the one mask it returns. Here the host selects the mask by
    `iou_predictions`, as for SAM, so it is added to every mask.
    """

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__(size, grid)
        width, narrow = size.width, size.width // 8
        self.hf_token = nn.Embedding(1, width)
        self.hf_mlp = MLP(width, width, narrow, 3)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(narrow, width // 4, 3, padding=1),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.Conv2d(width // 4, narrow, 3, padding=1),
        )

    def output_tokens(self, batch: int) -> Tensor:
        """(B, 2 + M, C): IoU, masks, the high-quality token."""
        parts = [self.iou_token.weight, self.mask_tokens.weight, self.hf_token.weight]
        return torch.cat([torch.cat(parts, dim=0).unsqueeze(0)] * batch, dim=0)

    def forward(  # type: ignore[override]
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, key_bias: Tensor, sharp: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict every mask; see `MaskDecoder`.

        Args:
            image: (B, hw, C).
            image_pe: (1, hw, C).
            tokens: (B, 2 + M + N, C).
            key_bias: (B, 1, 1, 2 + M + N).
            sharp: (1, C / 8, 4h, 4w), the encoder's second output.
        """
        tokens, image = self.transformer(tokens, image, image_pe, key_bias)
        upscaled = self.output_upscaling(image)
        masks = unfold_children(upscaled @ self.mask_weights(tokens), self.grid)
        refined = self.embedding_maskfeature(unfold_children(upscaled, self.grid)) + sharp
        batch, channels, side, _ = refined.shape
        # Image times token, not token times image: XNNPACK takes only the first.
        rows = refined.permute(0, 2, 3, 1).reshape(batch, side * side, channels)
        last = 1 + len(self.output_hypernetworks_mlps)
        quality = rows @ self.hf_mlp(tokens[:, last]).unsqueeze(-1)
        masks = masks + quality.reshape(batch, 1, side, side)
        return masks, self.iou(tokens)


class HqSam(Sam):
    """A tapped encoder with SAM's prompt encoder and SAM-HQ's mask decoder."""

    def __init__(
        self,
        trunk: TappedViT | TappedTinyViT,
        geometry: Geometry = SAM_GEOMETRY,
        decoder: DecoderSize = SAM_DECODER,
    ) -> None:
        super().__init__(HqEncoder(trunk, decoder.width, geometry.grid), geometry, decoder)
        self.mask_decoder = HqMaskDecoder(decoder, geometry.grid)
