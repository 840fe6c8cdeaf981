"""EfficientSAM's published decoder arithmetic, on our modules' weights; see `published`.

Sources read for the order of operations: EfficientSAM `efficient_sam.py` (`predict_masks`),
`efficient_sam_decoder.py`, `two_way_transformer.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.efficient_sam import POINTS, EfficientSamMaskDecoder
from profiles.lab.bench.published import PublishedDecoder

if TYPE_CHECKING:
    from exporter.models.attention import Attention
    from exporter.models.efficient_sam import EfficientSamPromptEncoder
    from exporter.models.mask_decoder import TwoWayBlock
    from exporter.models.sam import Sam


def published_decoder(sam: Sam) -> PublishedDecoder:
    """Make the published arithmetic of a network's prompt encoder and mask decoder."""
    own = isinstance(sam.mask_decoder, EfficientSamMaskDecoder)
    return PublishedEfficientSamDecoder(sam) if own else PublishedDecoder(sam)


class PublishedEfficientSamDecoder(PublishedDecoder):
    """Prompts are cut or padded to six; the picture is normalised by `group_norm`."""

    prompt_encoder: EfficientSamPromptEncoder  # type: ignore[assignment]
    mask_decoder: EfficientSamMaskDecoder

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor | None = None,
        high_res: tuple[Tensor, ...] = (),
    ) -> tuple[Tensor, Tensor]:
        """Predict every mask; see `PublishedDecoder`. It takes no mask and no other map.

        A label of -1 is padding, and takes padding's place whatever its coordinates.
        """
        place = torch.where(point_labels.unsqueeze(-1) == -1, -1.0, point_coords)
        missing = POINTS - place.shape[1]
        place = F.pad(place[:, :POINTS], (0, 0, 0, max(missing, 0)), value=-1.0)
        labels = F.pad(point_labels[:, :POINTS], (0, max(missing, 0)), value=-1.0)
        sparse = _embed(self.prompt_encoder, place, labels)
        return _decode(self.mask_decoder, image_embeddings, self._position(), sparse)

    def _position(self) -> Tensor:
        """(1, C, h, w): cells counted by a running sum, as published."""
        grid = self.prompt_encoder.grid
        ones = torch.ones(grid, grid)
        rows, cols = ((ones.cumsum(dim=axis) - 0.5) / grid for axis in (0, 1))
        encoded = _fourier(self.prompt_encoder, torch.stack([cols, rows], dim=-1))
        return encoded.permute(2, 0, 1).unsqueeze(0)


def _fourier(encoder: EfficientSamPromptEncoder, unit: Tensor) -> Tensor:
    phase = 2 * math.pi * ((2 * unit - 1) @ encoder.pe_layer.positional_encoding_gaussian_matrix)
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)


def _embed(encoder: EfficientSamPromptEncoder, coords: Tensor, labels: Tensor) -> Tensor:
    tokens = _fourier(encoder, (coords + 0.5) / encoder.size)
    kinds = {-1: encoder.not_a_point_embed, **dict(enumerate(encoder.point_embeddings, start=1))}
    for label, embedding in kinds.items():
        tokens[labels == label] += embedding.weight
    return tokens


def _attention(attn: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def heads(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], attn.heads, -1).transpose(1, 2)

    q, k, v = heads(attn.q_proj(q)), heads(attn.k_proj(k)), heads(attn.v_proj(v))
    weights = torch.softmax(q @ k.permute(0, 1, 3, 2) * (1.0 / math.sqrt(q.shape[-1])), dim=-1)
    projected: Tensor = attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    return projected


def _mlp(layers: list[nn.Module], x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = F.gelu(layer(x))
    out: Tensor = layers[-1](x)
    return out


def _two_way(
    block: TwoWayBlock, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
) -> tuple[Tensor, Tensor]:
    tokens = tokens if block.first else tokens + token_pe
    tokens = block.norm1(tokens + _attention(block.self_attn, tokens, tokens, tokens))
    look, answer = block.cross_attn_token_to_image, block.cross_attn_image_to_token
    keys = image + image_pe
    tokens = block.norm2(tokens + _attention(look, tokens + token_pe, keys, image))
    tokens = block.norm3(tokens + _mlp([block.mlp.lin1, block.mlp.lin2], tokens))
    return tokens, block.norm4(image + _attention(answer, keys, tokens + token_pe, tokens))


def _decode(
    decoder: EfficientSamMaskDecoder, embeddings: Tensor, position: Tensor, sparse: Tensor
) -> tuple[Tensor, Tensor]:
    batch, count = sparse.shape[0], decoder.size.mask_tokens
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight], dim=0)
    token_pe = tokens = torch.cat([output.unsqueeze(0).expand(batch, -1, -1), sparse], dim=1)
    picture = torch.tile(embeddings, (batch, 1, 1, 1))
    image = picture.flatten(2).permute(0, 2, 1)
    image_pe = torch.repeat_interleave(position, batch, dim=0).flatten(2).permute(0, 2, 1)
    transformer = decoder.transformer
    for block in transformer.layers:
        tokens, image = _two_way(block, tokens, image, token_pe, image_pe)
    last = transformer.final_attn_token_to_image
    tokens = tokens + _attention(last, tokens + token_pe, image + image_pe, image)
    tokens = transformer.norm_final_attn(tokens)
    picture = _upscale(decoder, image.transpose(1, 2).view(picture.shape))
    heads = decoder.output_hypernetworks_mlps
    hyper = [_mlp(list(head.layers), tokens[:, 1 + i]) for i, head in enumerate(heads)]
    masks = torch.stack(hyper, dim=1) @ picture.flatten(2)
    iou = _mlp(list(decoder.iou_prediction_head.layers), tokens[:, 0])
    return masks.view(batch, count, *picture.shape[2:]), iou


def _upscale(decoder: EfficientSamMaskDecoder, x: Tensor) -> Tensor:
    first, norm, _, second, _ = decoder.output_upscaling
    x = F.conv_transpose2d(x, first.weight, first.bias, stride=2)
    x = F.gelu(F.group_norm(x, 1, norm.weight, norm.bias, norm.eps))
    return F.gelu(F.conv_transpose2d(x, second.weight, second.bias, stride=2))
