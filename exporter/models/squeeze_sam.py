"""SqueezeSAM (Varadarajan et al. 2023, arXiv 2312.06736): a U-Net that takes prompts as pictures.

Reference: yformer/EfficientSAM at 3477a43, `squeeze_sam/`; names are shorter here. A transformer
between six tokens and the four pixels of the last encoder level gives the weights of four masks
over the U-Net's output. Batch norms come after the ReLU, so none can be folded into its own
convolution; each stays a product and a sum of its channel.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import MLP, merge_heads, split_heads

PATCH = 2
WIDTHS = (64, 128, 128, 128, 128, 164, 256, 256)
HEADS = 8
BLOCKS = 2
MASKS = 4
EPS = 1e-5
"""Epsilon of every norm: torch's default."""


class WholeNorm(nn.Module):
    """Group norm of a single group: one mean and one variance of a whole picture.

    They are taken row by row, then over the rows: summing 4 million values in order loses precision
    in float32, and the sum overflows float16.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> the same shape."""
        x = x - _mean(x)
        scale = (_mean(x * x) + EPS).rsqrt() * self.weight.reshape(1, -1, 1, 1)
        return x * scale + self.bias.reshape(1, -1, 1, 1)


class Affine(nn.Module):
    """A batch norm (`weight`, `bias`, `running_mean`, `running_var`) of its own, in evaluation."""

    running_mean: Tensor
    running_var: Tensor
    factor: Tensor
    offset: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        for name in ("factor", "offset"):
            self.register_buffer(name, torch.zeros(1, channels, 1, 1), persistent=False)
        self.freeze_tables()

    def freeze_tables(self) -> None:
        """Fold the norm into one factor and one offset a channel."""
        with torch.no_grad():
            factor = self.weight * (self.running_var + EPS).rsqrt()
            offset = self.bias - self.running_mean * factor
            self.factor = factor.reshape(1, -1, 1, 1)
            self.offset = offset.reshape(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1, C, H, W) -> the same shape."""
        return x * self.factor + self.offset


class ConvReLU(nn.Module):
    """3 x 3 convolution, ReLU, norm."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, padding=1)
        self.norm = Affine(cout)

    def forward(self, x: Tensor) -> Tensor:
        """(1, Cin, H, W) -> (1, Cout, H, W)."""
        out: Tensor = self.norm(F.relu(self.conv(x)))
        return out


class Enlarge(nn.Module):
    """A linear layer from one pixel to four, ReLU, norm.

    As published, a channel's four pixels are adjacent. `channels_last` puts the four pixels after
    one another, all channels of each, which takes one transpose and no rank above 4.
    """

    weight: Tensor
    bias: Tensor
    factor: Tensor
    offset: Tensor

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.channels_last = False
        self.linear = nn.Linear(cin, 4 * cout)
        self.norm = Affine(4 * cout)
        for name in ("weight", "bias", "factor", "offset"):
            self.register_buffer(name, torch.zeros(0), persistent=False)

    def freeze_tables(self) -> None:
        """Put the outputs of both layers in the other order."""
        self.norm.freeze_tables()
        order = torch.arange(self.linear.out_features).reshape(-1, 4).t().reshape(-1)
        self.weight, self.bias = self.linear.weight[order], self.linear.bias[order]
        self.factor = self.norm.factor.reshape(-1)[order]
        self.offset = self.norm.offset.reshape(-1)[order]

    def forward(self, x: Tensor) -> Tensor:
        """(1, Cin, H, W) -> (1, Cout, 2H, 2W)."""
        if not self.channels_last:
            weight = self.linear.weight[:, :, None, None]
            four = F.relu(F.conv2d(x, weight, self.linear.bias))
            return F.pixel_shuffle(self.norm(four), 2)
        _, _, height, width = x.shape
        four = F.relu(F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias))
        four = four * self.factor + self.offset
        rows = four.reshape(height, width, 2, -1).transpose(1, 2)
        return rows.reshape(1, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class Up(nn.Module):
    """Twice the size, then two convolutions together with the skip."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.up = Enlarge(cin, cin // 2)
        self.conv = _double(cin // 2 + cout, cout)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(1, Cin, H, W) and (1, Cout, 2H, 2W) -> (1, Cout, 2H, 2W)."""
        out: Tensor = self.conv(torch.cat([skip, self.up(x)], dim=1))
        return out


class Attention(nn.Module):
    """Multi-head attention; `inner` channels between the projections."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj = nn.Linear(width, inner), nn.Linear(width, inner)
        self.v_proj, self.out_proj = nn.Linear(width, inner), nn.Linear(inner, width)
        self.scale = (inner // HEADS) ** -0.5

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(1, N, C), (1, M, C), (1, M, C) -> (1, N, C)."""
        q, k = split_heads(self.q_proj(q), HEADS), split_heads(self.k_proj(k), HEADS)
        weights = (q @ k.transpose(2, 3) * self.scale).softmax(dim=-1)
        out: Tensor = self.out_proj(merge_heads(weights @ split_heads(self.v_proj(v), HEADS)))
        return out


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, the image to the tokens."""

    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(width, width)
        self.cross_attn_token_to_image = Attention(width, width // 2)
        self.cross_attn_image_to_token = Attention(width, width // 2)
        self.mlp = MLP(width, width, width, depth=2)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm3, self.norm4 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """(1, N, C), (1, M, C), and the tokens before any block; -> tokens, image."""
        if not self.first:
            tokens = tokens + start
        tokens = self.norm1(tokens + self.self_attn(tokens, tokens, tokens))
        asked = self.cross_attn_token_to_image(tokens + start, image, image)
        tokens = self.norm2(tokens + asked)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(image, tokens + start, tokens)
        return tokens, self.norm4(image + told)


class Transformer(nn.Module):
    """The learned tokens and the last encoder level -> both, updated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.layers = nn.ModuleList(TwoWayBlock(width, first=i == 0) for i in range(BLOCKS))
        self.final_attn_token_to_image = Attention(width, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(1, C, h, w) -> tokens (1, 6, C): IoU, masks, one that began as zeros; (1, C, h, w)."""
        learned = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        start = F.pad(learned, (0, 0, 0, 1)).unsqueeze(0)
        tokens, pixels = start, image.flatten(2).transpose(1, 2)
        for block in self.layers:
            tokens, pixels = block(tokens, pixels, start)
        tokens = tokens + self.final_attn_token_to_image(tokens + start, pixels, pixels)
        return self.norm_final_attn(tokens), pixels.transpose(1, 2).reshape(image.shape)


class SqueezeSam(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        first, last = WIDTHS[0], WIDTHS[-1]
        self.patch_embed = nn.Conv2d(5, first, PATCH, PATCH)
        self.patch_norm = WholeNorm(first)
        pairs = zip((first, *WIDTHS[:-1]), WIDTHS, strict=True)
        self.encoder = nn.ModuleList(_double(cin, cout) for cin, cout in pairs)
        self.transformer = Transformer(last)
        upward = WIDTHS[::-1]
        self.decoder = nn.ModuleList(Up(cin, cout) for cin, cout in itertools.pairwise(upward))
        self.hypernetworks = nn.ModuleList(MLP(last, last, first, depth=3) for _ in range(MASKS))
        self.iou_head = MLP(last, last, MASKS, depth=3)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            image: (1, 5, S, S) normalised RGB, the box mask, the click mask.

        Returns:
            `low_res_masks` (1, 4, S / 2, S / 2), logits, and `iou_predictions` (1, 4).
        """
        x = self.patch_norm(self.patch_embed(image))
        levels: list[Tensor] = []
        for index, layer in enumerate(self.encoder):
            x = layer(F.max_pool2d(x, 2) if index else x)
            levels.append(x)
        tokens, x = self.transformer(levels[-1])
        for up, skip in zip(self.decoder, levels[-2::-1], strict=True):
            x = up(x, skip)
        _, channels, height, width = x.shape
        weights = [mlp(tokens[:, i + 1]) for i, mlp in enumerate(self.hypernetworks)]
        masks = torch.stack(weights, dim=1) @ x.reshape(1, channels, height * width)
        return masks.reshape(1, MASKS, height, width), self.iou_head(tokens[:, 0])


def _double(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(ConvReLU(cin, cout), ConvReLU(cout, cout))


def _mean(x: Tensor) -> Tensor:
    """(1, C, H, W) -> (1, 1, 1, 1)."""
    rows = x.mean(3, keepdim=True).mean(2, keepdim=True)
    return rows.mean(1, keepdim=True)
