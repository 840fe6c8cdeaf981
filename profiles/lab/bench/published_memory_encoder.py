"""The published memory encoder, operation for operation, on our modules' weights; see `published`.

Sources read for the order of operations: sam2 `modeling/memory_encoder.py`, `sam2_base.py`
(`_encode_new_memory`); EdgeTAM `modeling/perceiver.py`. Build it from modules that are not frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.positions import sine_positions
from profiles.lab.bench.published import _norm2d

if TYPE_CHECKING:
    from exporter.models.perceiver import Perceiver
    from exporter.models.sam2_video import Sam2Video

SIGMOID_SCALE, SIGMOID_BIAS = 20.0, -10.0


class PublishedMemoryEncoder(nn.Module):
    """A frame's features and an object's logits, of a frame without a prompt -> its memory.

    Args:
        sam: not frozen.
    """

    def __init__(self, sam: Sam2Video) -> None:
        super().__init__()
        self.encoder, self.perceiver = sam.memory_encoder, sam.spatial_perceiver
        self.no_memory = cast("Tensor", sam.image_encoder.no_mem_embed)
        self.absent, self.upscale = sam.no_obj_embed_spatial, sam.size.mask_upscale
        position = sine_positions(sam.size.grid, sam.size.memory_width)
        self.register_buffer("position", position, persistent=False)
        self.position: Tensor

    def forward(
        self, image_embeddings: Tensor, mask_logits: Tensor, object_present: Tensor | None = None
    ) -> Tensor:
        """(1, C, g, g) with `no_mem_embed`, (1, 1, 4 g, 4 g), (1,) -> (1, T, 64)."""
        image = image_embeddings - self.no_memory.reshape(1, -1, 1, 1)
        mask = F.interpolate(mask_logits, scale_factor=self.upscale, mode="bilinear")
        mask = torch.sigmoid(mask) * SIGMOID_SCALE + SIGMOID_BIAS
        for layer in self.encoder.mask_downsampler.encoder:
            plain = isinstance(layer, nn.Conv2d | nn.GELU)
            mask = layer(mask) if plain else _norm2d(cast("Any", layer), mask)
        x = self.encoder.pix_feat_proj(image) + mask
        for block in cast("Any", self.encoder.fuser.layers):
            x = _fuse(block, x)
        x = self.encoder.out_proj(x)
        if self.absent is not None and object_present is not None:
            absent = (1.0 - object_present).reshape(-1, 1, 1, 1)
            x = x + absent * self.absent[..., None, None].expand(*x.shape)
        if self.perceiver is None:
            return x.flatten(2).permute(0, 2, 1)
        return _condensed(self.perceiver, x, self.position)


def _fuse(block: Any, x: Tensor) -> Tensor:
    y = _norm2d(block.norm, block.dwconv(x)).permute(0, 2, 3, 1)
    y = block.pwconv2(F.gelu(block.pwconv1(y)))
    return x + (block.gamma * y).permute(0, 3, 1, 2)


def _condensed(perceiver: Perceiver, x: Tensor, position: Tensor) -> Tensor:
    tokens = x.flatten(2).permute(0, 2, 1)
    whole = perceiver.latents.unsqueeze(0)
    for layer in cast("Any", perceiver.layers):
        whole = _layer(layer, whole, tokens, position)
    side, cell = perceiver.side, perceiver.grid // perceiver.side
    windows = x.view(1, -1, side, cell, side, cell).permute(0, 2, 4, 3, 5, 1)
    windows = windows.reshape(side * side, cell * cell, -1)
    apart = perceiver.latents_2d.unsqueeze(1)
    for layer in cast("Any", perceiver.layers):
        apart = _layer(layer, apart, windows, None)
    both = torch.cat([whole, apart.permute(1, 0, 2)], dim=1)
    out: Tensor = perceiver.norm(both)
    return out


def _layer(layer: Any, latents: Tensor, x: Tensor, position: Tensor | None) -> Tensor:
    attn, own = layer.attn, layer.self_attn
    keys, values = attn.to_kv(attn.norm_x(x)).chunk(2, dim=-1)
    if position is not None:
        keys, values = keys + position, values + position
    query = attn.to_q(attn.norm_latents(latents))
    latents = latents + attn.to_out(_attended(query, keys, values))
    latents = latents + layer.ff(latents)
    normed = own.norm(latents)
    latents = latents + own.to_out(_attended(own.to_q(normed), *own.to_kv(normed).chunk(2, dim=-1)))
    out: Tensor = latents + layer.self_ff(latents)
    return out


def _attended(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    q, k, v = (part.unsqueeze(1) for part in (query, keys, values))
    return F.scaled_dot_product_attention(q, k, v).squeeze(1)
