"""The published arithmetic, operation for operation, on our modules' weights.

Our modules reorder the published code's work to suit phones. This file does not: windows
at rank 6, packed qkv at rank 5, softmax written out, tables gathered on every call, batch norms
unfused, prompts of variable length picked with boolean masks, transposed convolutions, the image
repeated for each prompt set. It serves two ends: the baseline speed of `make bench`, and an
independent expectation for the static decoder.

Sources read for the order of operations: segment-anything `modeling/image_encoder.py`,
`prompt_encoder.py`, `transformer.py`, `mask_decoder.py`; MobileSAM `modeling/tiny_vit_sam.py`; sam2
`modeling/sam/mask_decoder.py`.
Build it from modules that are not frozen.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.rwkv_sam import RwkvMaskDecoder
from exporter.models.sam2 import Sam2MaskDecoder
from exporter.models.sam_hq import HqMaskDecoder
from exporter.models.tiny_vit import TinyViT, TinyViTBlock, WindowAttention
from exporter.models.vit import Block, RelPosAttention, ViT

if TYPE_CHECKING:
    from exporter.models.attention import Attention
    from exporter.models.layers import LayerNorm2d
    from exporter.models.mask_decoder import MaskDecoder, TwoWayBlock
    from exporter.models.prompt_encoder import PromptEncoder
    from exporter.models.sam import Sam


class PublishedEncoder(nn.Module):
    """Normalised (1, 3, S, S) -> image embedding, as the published ViT or TinyViT computes it."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder
        if isinstance(self.encoder, TinyViT):
            self.tables = [
                _distance_index(module.window)
                for module in self.encoder.modules()
                if isinstance(module, WindowAttention)
            ]

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if isinstance(self.encoder, ViT):
            return _vit(self.encoder, x)
        if isinstance(self.encoder, TinyViT):
            return _tiny_vit(self.encoder, x, self.tables)
        raise TypeError(f"no published arithmetic for {type(self.encoder).__name__}")


class PublishedDecoder(nn.Module):
    """Prompt encoder and mask decoder with the real prompts alone: no empty slots, any number."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = sam.prompt_encoder, sam.mask_decoder

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor | None = None,
        high_res: tuple[Tensor, ...] = (),
    ) -> tuple[Tensor, Tensor]:
        """Predict every mask.

        Args:
            image_embeddings: (1, C, h, w).
            point_coords: (B, n, 2) pixels of the input.
            point_labels: (B, n) 1, 0, 2, 3 or -1.
            mask_input: (B, 1, 4h, 4w), or None.
            high_res: SAM 2's (1, C / 8, 4h, 4w) and (1, C / 4, 2h, 2w), if it has them.

        Returns:
            `low_res_masks` (B, M, 4h, 4w) and `iou_predictions` (B, M).
        """
        encoder = self.prompt_encoder
        sparse = _embed_points(encoder, point_coords, point_labels)
        batch = sparse.shape[0]
        if mask_input is None:
            dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
            dense = dense.expand(batch, -1, encoder.grid, encoder.grid)
        else:
            dense = _embed_mask(encoder, mask_input)
        position = _dense_position(encoder)
        return _decode(self.mask_decoder, image_embeddings, position, sparse, dense, high_res)


def _norm2d(norm: LayerNorm2d, x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + norm.eps)
    return norm.weight[:, None, None] * x + norm.bias[:, None, None]


def _neck(neck: nn.Sequential, x: Tensor) -> Tensor:
    for layer in neck:
        x = layer(x) if isinstance(layer, nn.Conv2d) else _norm2d(layer, x)
    return x


def _windows(x: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    batch, height, width, channels = x.shape
    below, right = -height % window, -width % window
    x = F.pad(x, (0, 0, 0, right, 0, below))
    padded = (height + below, width + right)
    x = x.view(batch, padded[0] // window, window, padded[1] // window, window, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).contiguous()
    return x.view(-1, window, window, channels), padded


def _unwindows(x: Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
    rows, cols = padded[0] // window, padded[1] // window
    batch = x.shape[0] // (rows * cols)
    x = x.view(batch, rows, cols, window, window, -1).permute(0, 1, 3, 2, 4, 5)
    return x.contiguous().view(batch, *padded, -1)[:, : size[0], : size[1]].contiguous()


def _rows_for(side: int, table: Tensor) -> Tensor:
    axis = torch.arange(side)
    return table[axis[:, None] - axis[None, :] + side - 1]


def _rel_pos_attention(attn: RelPosAttention, x: Tensor) -> Tensor:
    batch, height, width, _ = x.shape
    tokens = height * width
    qkv = attn.qkv(x).reshape(batch, tokens, 3, attn.heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, batch * attn.heads, tokens, -1).unbind(0)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    square = q.reshape(batch * attn.heads, height, width, -1)
    by_row = torch.einsum("bhwc,hkc->bhwk", square, _rows_for(height, attn.rel_pos_h))
    by_col = torch.einsum("bhwc,wkc->bhwk", square, _rows_for(width, attn.rel_pos_w))
    logits = logits.view(-1, height, width, height, width)
    logits = logits + by_row[:, :, :, :, None] + by_col[:, :, :, None, :]
    out = logits.view(-1, tokens, tokens).softmax(dim=-1) @ v
    out = out.view(batch, attn.heads, height, width, -1).permute(0, 2, 3, 1, 4)
    projected: Tensor = attn.proj(out.reshape(batch, height, width, -1))
    return projected


def _vit_block(block: Block, x: Tensor) -> Tensor:
    shortcut, x = x, block.norm1(x)
    if block.window:
        size = (x.shape[1], x.shape[2])
        x, padded = _windows(x, block.window)
        x = _unwindows(_rel_pos_attention(block.attn, x), block.window, padded, size)
    else:
        x = _rel_pos_attention(block.attn, x)
    x = shortcut + x
    out: Tensor = x + block.mlp(block.norm2(x))
    return out


def _vit(encoder: ViT, x: Tensor) -> Tensor:
    x = encoder.patch_embed(x) + encoder.pos_embed
    for block in encoder.blocks:
        x = _vit_block(block, x)
    return _neck(encoder.neck, x.permute(0, 3, 1, 2))


def _distance_index(window: int) -> Tensor:
    axis = torch.arange(window)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    distance = (places[:, :, None] - places[:, None, :]).abs()
    return distance[0] * window + distance[1]


def _window_attention(attn: WindowAttention, x: Tensor, index: Tensor) -> Tensor:
    batch, tokens, width = x.shape
    head = width // attn.heads
    qkv = attn.qkv(attn.norm(x)).view(batch, tokens, attn.heads, -1)
    q, k, v = (part.permute(0, 2, 1, 3) for part in qkv.split([head, head, head], dim=3))
    logits = (q @ k.transpose(-2, -1)) * head**-0.5 + attn.attention_biases[:, index]
    out = (logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
    projected: Tensor = attn.proj(out)
    return projected


def _tiny_block(block: TinyViTBlock, x: Tensor, index: Tensor) -> Tensor:
    batch, tokens, width = x.shape
    side = round(tokens**0.5)
    windows, padded = _windows(x.view(batch, side, side, width), block.window)
    windows = windows.reshape(-1, block.window**2, width)
    y = _window_attention(block.attn, windows, index)
    y = _unwindows(y, block.window, padded, (side, side)).view(batch, tokens, width)
    x = x + y
    x = block.local_conv(x.transpose(1, 2).reshape(batch, width, side, side))
    x = x.view(batch, width, tokens).transpose(1, 2)
    out: Tensor = x + block.mlp(x)
    return out


def _tiny_vit(encoder: TinyViT, x: Tensor, tables: list[Tensor]) -> Tensor:
    x = encoder.patch_embed(x)
    index = iter(tables)
    for number, stage in enumerate(encoder.layers):
        if number:
            batch, width, side, _ = x.shape
            tokens = x.flatten(2).transpose(1, 2)
            for block in stage.blocks:
                tokens = _tiny_block(block, tokens, next(index))
            x = tokens.transpose(1, 2).reshape(batch, width, side, side)
        else:
            for block in stage.blocks:
                x = block(x)
        x = x if stage.downsample is None else stage.downsample(x)
    return _neck(encoder.neck, x)


def _fourier(encoder: PromptEncoder, unit: Tensor) -> Tensor:
    phase = 2 * math.pi * ((2 * unit - 1) @ encoder.pe_layer.positional_encoding_gaussian_matrix)
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=-1)


def _embed_points(encoder: PromptEncoder, coords: Tensor, labels: Tensor) -> Tensor:
    tokens = _fourier(encoder, (coords + 0.5) / encoder.size)
    tokens[labels == -1] = 0.0
    tokens[labels == -1] += encoder.not_a_point_embed.weight
    for label, embedding in enumerate(encoder.point_embeddings):
        tokens[labels == label] += embedding.weight
    return tokens


def _embed_mask(encoder: PromptEncoder, mask: Tensor) -> Tensor:
    for layer in encoder.mask_downscaling:
        mask = layer(mask) if isinstance(layer, nn.Conv2d | nn.GELU) else _norm2d(layer, mask)
    return mask


def _dense_position(encoder: PromptEncoder) -> Tensor:
    axis = (torch.arange(encoder.grid, dtype=torch.float32) + 0.5) / encoder.grid
    rows, cols = torch.meshgrid(axis, axis, indexing="ij")
    return _fourier(encoder, torch.stack([cols, rows], dim=-1)).permute(2, 0, 1)[None]


def _attention(attn: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def heads(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], attn.heads, -1).transpose(1, 2)

    q, k, v = heads(attn.q_proj(q)), heads(attn.k_proj(k)), heads(attn.v_proj(v))
    logits = q @ k.permute(0, 1, 3, 2) / math.sqrt(q.shape[-1])
    out = torch.softmax(logits, dim=-1) @ v
    projected: Tensor = attn.out_proj(out.transpose(1, 2).flatten(2))
    return projected


def _two_way(
    block: TwoWayBlock, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
) -> tuple[Tensor, Tensor]:
    if block.first:
        tokens = _attention(block.self_attn, tokens, tokens, tokens)
    else:
        q = tokens + token_pe
        tokens = tokens + _attention(block.self_attn, q, q, tokens)
    tokens = block.norm1(tokens)
    attended = _attention(
        block.cross_attn_token_to_image, tokens + token_pe, image + image_pe, image
    )
    tokens = block.norm2(tokens + attended)
    tokens = block.norm3(tokens + block.mlp(tokens))
    attended = _attention(
        block.cross_attn_image_to_token, image + image_pe, tokens + token_pe, tokens
    )
    return tokens, block.norm4(image + attended)


def _decode(
    decoder: MaskDecoder,
    embeddings: Tensor,
    position: Tensor,
    sparse: Tensor,
    dense: Tensor,
    high_res: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor]:
    batch, count = sparse.shape[0], decoder.size.mask_tokens
    output = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight[:count]], dim=0)
    if isinstance(decoder, HqMaskDecoder):
        output = torch.cat([output, decoder.hf_token.weight], dim=0)
    scored = isinstance(decoder, Sam2MaskDecoder)
    if isinstance(decoder, Sam2MaskDecoder):
        output = torch.cat([decoder.obj_score_token.weight, output], dim=0)
    token_pe = tokens = torch.cat([output.unsqueeze(0).expand(batch, -1, -1), sparse], dim=1)
    image = torch.repeat_interleave(embeddings, batch, dim=0) + dense
    image_pe = torch.repeat_interleave(position, batch, dim=0).flatten(2).permute(0, 2, 1)
    _, width, height, cols = image.shape
    flat = image.flatten(2).permute(0, 2, 1)
    transformer = decoder.transformer
    for block in transformer.layers:
        tokens, flat = _two_way(block, tokens, flat, token_pe, image_pe)
    last = transformer.final_attn_token_to_image
    tokens = tokens + _attention(last, tokens + token_pe, flat + image_pe, flat)
    tokens = transformer.norm_final_attn(tokens)
    picture = flat.transpose(1, 2).view(batch, width, height, cols)
    sharp = high_res if isinstance(decoder, HqMaskDecoder | RwkvMaskDecoder) else ()
    picture = _upscale(decoder, picture, () if sharp else high_res)
    if isinstance(decoder, RwkvMaskDecoder):
        first, norm, activate, second = decoder.mix_feat_proj
        picture = picture + second(activate(_norm2d(norm, first(picture) + sharp[0])))
    tokens = tokens[:, int(scored) :]
    hyper = torch.stack(
        [decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in range(count)], dim=1
    )
    masks = (hyper @ picture.flatten(2)).view(batch, count, *picture.shape[2:])
    if isinstance(decoder, HqMaskDecoder):
        masks = masks + _quality(decoder, tokens[:, 1 + count], picture, sharp[0])
    iou = decoder.iou_prediction_head(tokens[:, 0])[:, :count]
    return masks, iou.sigmoid() if scored else iou


def _quality(decoder: HqMaskDecoder, token: Tensor, picture: Tensor, sharp: Tensor) -> Tensor:
    first, norm, activate, second = decoder.embedding_maskfeature
    refined = second(activate(_norm2d(norm, first(picture)))) + sharp.repeat(len(token), 1, 1, 1)
    hyper = decoder.hf_mlp(token).unsqueeze(1)
    out: Tensor = (hyper @ refined.flatten(2)).view(-1, 1, *picture.shape[2:])
    return out


def _upscale(decoder: MaskDecoder, x: Tensor, high_res: tuple[Tensor, ...]) -> Tensor:
    first, norm, activate, second, _ = decoder.output_upscaling
    x = F.conv_transpose2d(x, first.weight, first.bias, stride=2)
    x = x + high_res[1] if high_res else x
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    x = (x - mean) / torch.sqrt(variance + norm.eps)
    x = activate(norm.weight[:, None, None] * x + norm.bias[:, None, None])
    x = F.conv_transpose2d(x, second.weight, second.bias, stride=2)
    return activate(x + high_res[0] if high_res else x)
