"""SAM's two-way transformer and mask decoder, on tokens throughout.

Reference: facebookresearch/segment-anything, `modeling/transformer.py` and `mask_decoder.py`; the
tensor names are those of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models import absorbed_attention
from exporter.models.attention import Attention
from exporter.models.layers import MLP, Activation


@dataclass(frozen=True)
class DecoderSize:
    """Widths of a mask decoder; the defaults are SAM's."""

    width: int = 256
    heads: int = 8
    mlp_width: int = 2048
    depth: int = 2
    attention_downsample: int = 2
    mask_tokens: int = 4
    iou_hidden: int = 256
    layer_eps: float = 1e-5
    final_eps: float = 1e-5
    activation: Activation = F.relu


class TokenMLP(nn.Module):
    """The transformer block's two linear layers."""

    def __init__(self, width: int, hidden: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        out: Tensor = self.lin2(self.activation(self.lin1(x)))
        return out


class TwoWayBlock(nn.Module):
    """Self-attention of the tokens, tokens to image, MLP, image to tokens."""

    def __init__(self, size: DecoderSize, *, first: bool) -> None:
        super().__init__()
        width, heads, down = size.width, size.heads, size.attention_downsample
        self.first = first
        self.self_attn = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=size.layer_eps)
        self.cross_attn_token_to_image = Attention(width, heads, down)
        self.norm2 = nn.LayerNorm(width, eps=size.layer_eps)
        self.mlp = TokenMLP(width, size.mlp_width, size.activation)
        self.norm3 = nn.LayerNorm(width, eps=size.layer_eps)
        self.norm4 = nn.LayerNorm(width, eps=size.layer_eps)
        self.cross_attn_image_to_token = Attention(width, heads, down)

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C) and image (B, hw, C), each with its position encoding."""
        tokens = self.norm1(self.mix_tokens(tokens, token_pe, key_bias))

        q, k = tokens + token_pe, image + image_pe
        tokens = self.norm2(tokens + _look_at_image(self.cross_attn_token_to_image, q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))

        q = tokens + token_pe
        attn = self.cross_attn_image_to_token
        if attn.absorbed:
            image = image + absorbed_attention.image_to_tokens(attn, k, q, tokens, key_bias)
        else:
            image = image + attn(k, q, tokens, key_bias)
        return tokens, self.norm_image(image)

    def mix_tokens(self, tokens: Tensor, token_pe: Tensor, key_bias: Tensor) -> Tensor:
        """Self-attention of the tokens, before its norm."""
        if self.first:
            # The published first block has no position encoding here and no residual.
            first: Tensor = self.self_attn(tokens, tokens, tokens, key_bias)
            return first
        q = tokens + token_pe
        out: Tensor = tokens + self.self_attn(q, q, tokens, key_bias)
        return out

    def norm_image(self, image: Tensor) -> Tensor:
        """`norm4` on rows: (B, hw, C) -> (B * hw, C) -> back.

        At rank 3, ONNX Runtime fuses the sum before it and the norm to SkipLayerNormalization,
        whose CPU kernel takes 2.2 ms here where the two apart take 0.9 ms. The reshape is free.
        """
        rows: Tensor = self.norm4(image.reshape(-1, image.shape[-1]))
        return rows.reshape(image.shape)


class TwoWayTransformer(nn.Module):
    """`depth` two-way blocks, of a family's own kind, and a last tokens-to-image attention."""

    def __init__(self, size: DecoderSize, block: type[TwoWayBlock] = TwoWayBlock) -> None:
        super().__init__()
        self.layers = nn.ModuleList(block(size, first=i == 0) for i in range(size.depth))
        self.final_attn_token_to_image = Attention(
            size.width, size.heads, size.attention_downsample
        )
        self.norm_final_attn = nn.LayerNorm(size.width, eps=size.final_eps)

    def forward(
        self, tokens: Tensor, image: Tensor, image_pe: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, C), image (B, hw, C), key_bias (B, 1, 1, T) of the tokens."""
        token_pe = tokens
        tokens, image = self.layers[0](tokens, image, token_pe, image_pe, key_bias)
        return self.after_first(tokens, image, token_pe, image_pe, key_bias)

    def after_first(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Do all that follows the first block, the only one whose image side no prompt changes."""
        for layer in list(self.layers)[1:]:
            tokens, image = layer(tokens, image, token_pe, image_pe, key_bias)
        q, k = tokens + token_pe, image + image_pe
        attended = _look_at_image(self.final_attn_token_to_image, q, k, image)
        return self.norm_final_attn(tokens + attended), image


def _look_at_image(attn: Attention, tokens: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    if attn.absorbed:
        return absorbed_attention.tokens_to_image(attn, tokens, keys, values)
    out: Tensor = attn(tokens, keys, values)
    return out


class Upscale2x(nn.Module):
    """A 2x2, stride 2 transposed convolution as one linear layer on tokens.

    (B, n, Cin) @ (Cin, 4 * Cout) -> (B, 4n, Cout): each token becomes its four children, in the
    order (dy, dx). No pixel moves: whoever needs the picture calls `unfold_children` at the end.
    """

    linear_weight: Tensor
    linear_bias: Tensor

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_in, channels_out, 2, 2) * 0.02)
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.channels_out = channels_out
        self.frozen = False

    def tables(self) -> tuple[Tensor, Tensor]:
        """Return the linear layer's weight (4 * Cout, Cin) and bias (4 * Cout)."""
        weight = self.weight.permute(2, 3, 1, 0).reshape(4 * self.channels_out, -1)
        return weight, self.bias.repeat(4)

    def freeze_tables(self) -> None:
        """Keep the linear layer's form, so that no graph permutes a weight."""
        weight, bias = self.tables()
        self.register_buffer("linear_weight", weight.clone(), persistent=False)
        self.register_buffer("linear_bias", bias.clone(), persistent=False)
        self.frozen = True

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, Cin) -> (B, 4n, Cout)."""
        weight, bias = (self.linear_weight, self.linear_bias) if self.frozen else self.tables()
        batch, tokens, _ = x.shape
        return F.linear(x, weight, bias).reshape(batch, 4 * tokens, self.channels_out)


def unfold_children(x: Tensor, grid: int) -> Tensor:
    """Twice-upscaled tokens to pictures: (B, 16 * grid**2, M) -> (B, M, 4 * grid, 4 * grid).

    The tokens lie in the order (y, x, dy1, dx1, dy2, dx2); two swaps at rank 4 give
    (y, dy1, dy2, x, dx1, dx2). Only M values a pixel move, not the decoder's 32 or 64 channels.
    """
    batch, _, masks = x.shape
    x = x.reshape(batch * grid, grid, 2, 8 * masks).permute(0, 2, 1, 3)
    x = x.reshape(batch * grid * 2, grid * 2, 2, 2 * masks).permute(0, 2, 1, 3)
    return (
        x.reshape(batch, 16 * grid * grid, masks)
        .transpose(1, 2)
        .reshape(batch, masks, 4 * grid, 4 * grid)
    )


class MaskDecoder(nn.Module):
    """Image embedding and prompt tokens -> the logits of every mask token and their IoU.

    Attributes:
        before_masks: output tokens before the first mask's.
    """

    before_masks = 1

    def __init__(self, size: DecoderSize, grid: int) -> None:
        super().__init__()
        width = size.width
        self.size, self.grid = size, grid
        self.transformer = TwoWayTransformer(size)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(size.mask_tokens, width)
        self.output_upscaling = nn.Sequential(
            Upscale2x(width, width // 4),
            nn.LayerNorm(width // 4, eps=1e-6),
            nn.GELU(),
            Upscale2x(width // 4, width // 8),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(width, width, width // 8, 3, size.activation) for _ in range(size.mask_tokens)
        )
        self.iou_prediction_head = MLP(width, size.iou_hidden, size.mask_tokens, 3, size.activation)

    def output_tokens(self, batch: int) -> Tensor:
        """(B, 1 + M, C): the IoU token and the mask tokens, once for each prompt set."""
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight], dim=0).unsqueeze(0)
        return torch.cat([tokens] * batch, dim=0)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, key_bias: Tensor
    ) -> tuple[Tensor, ...]:
        """Predict every mask.

        Args:
            image: (B, hw, C) image embedding plus dense prompt, as tokens.
            image_pe: (1, hw, C) its position encoding.
            tokens: (B, 1 + M + N, C) output tokens, then prompt tokens.
            key_bias: (B, 1, 1, 1 + M + N), 0 or a large negative number for an empty slot.

        Returns:
            `low_res_masks` (B, M, 4h, 4w) and `iou_predictions` (B, M).
        """
        tokens, image = self.transformer(tokens, image, image_pe, key_bias)
        return self.masks(image, self.mask_weights(tokens)), self.iou(tokens)

    def iou(self, tokens: Tensor) -> Tensor:
        """(B, T, C) tokens after the transformer -> `iou_predictions` (B, M)."""
        out: Tensor = self.iou_prediction_head(tokens[:, 0])
        return out

    def mask_weights(self, tokens: Tensor) -> Tensor:
        """(B, T, C) tokens after the transformer -> (B, C / 8, M), a column for each mask."""
        first, mlps = self.before_masks, self.output_hypernetworks_mlps
        return torch.stack([mlp(tokens[:, first + i]) for i, mlp in enumerate(mlps)], dim=-1)

    def masks(self, image: Tensor, weights: Tensor) -> Tensor:
        """Upscale (B, hw, C) and weigh it by (B, C / 8, M) -> `low_res_masks` (B, M, 4h, 4w)."""
        return unfold_children(self.output_upscaling(image) @ weights, self.grid)
