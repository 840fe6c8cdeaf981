"""RAP-SAM's heads: kernels that read the feature map under their masks, three times.

Reference: xushilin1/RAP-SAM at 2e7bf1c, `seg/models/heads/{rapsam_head,yoso_head}.py`. A kernel's
mask is its product with the feature map; where that is above zero, the features are summed, and the
sum updates the kernel. Prompts do not see each other, so the attention between kernels is one value
each; the panoptic kernels do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from exporter.models.layers import split_heads

HEADS = 8
STAGES = 3
LOGIT_SCALE = math.exp(4.6052)
EPS = 1e-5
"""Of the inverse sigmoid in the published encoding of boxes."""
CLICK = 3.0
"""A point is a box that reaches so far on every side, in pixels of the resized picture."""
SHARE = 2.0**-8
"""Of the sums over pixels: 65 536 features may be summed, and float16 ends there. A power of two,
so that folding its inverse into the next layer's weights changes no digit."""
KEPT = 2.0**-4
"""Of what layers make of the sums, up to the norms, which divide it out: with the published case's
weights it is past float16's 65,504 (without, `make cases` of `rap_sam_r50` is not finite in Core ML
and fp16). Less would leave few digits of an empty mask's, which are the biases alone.
"""
PERIOD = 10_000.0


class KernelUpdate(nn.Module):
    """Kernels and the features under their masks -> new kernels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dynamic_layer = nn.Linear(width, 2 * width)
        self.input_layer = nn.Linear(width, 2 * width)
        self.input_gate = nn.Linear(width, width)
        self.update_gate = nn.Linear(width, width)
        self.norm_in = nn.LayerNorm(width)
        self.norm_out = nn.LayerNorm(width)
        self.input_norm_in = nn.LayerNorm(width)
        self.input_norm_out = nn.LayerNorm(width)
        self.fc_layer = nn.Linear(width, width)
        self.fc_norm = nn.LayerNorm(width)
        self.share = 1.0

    def freeze_tables(self) -> None:
        """Take `SHARE` of the sums, and `KEPT` of what follows from them, up to the norms."""
        if self.share == 1.0:
            # New tensors: the old ones are the checkpoint's.
            self.dynamic_layer.weight = nn.Parameter(self.dynamic_layer.weight * (KEPT / SHARE))
            for layer in (self.dynamic_layer, self.update_gate, self.input_gate):
                layer.bias = nn.Parameter(layer.bias * KEPT)
            for norm in (self.norm_in, self.input_norm_in, self.norm_out):
                norm.eps *= KEPT**2
            self.share = SHARE

    def forward(self, sums: Tensor, kernels: Tensor) -> Tensor:
        """(B, C) sums times `share`, (B, C) kernels -> (B, C)."""
        seen_in, seen_out = self.dynamic_layer(sums).chunk(2, dim=-1)
        own_in, own_out = self.input_layer(kernels).chunk(2, dim=-1)
        gate = own_in * seen_in
        update = torch.sigmoid(self.norm_in(self.update_gate(gate)))
        keep = torch.sigmoid(self.input_norm_in(self.input_gate(gate)))
        mixed = update * self.norm_out(seen_out) + keep * self.input_norm_out(own_out)
        return F.relu(self.fc_norm(self.fc_layer(mixed)))


class SelfAttention(nn.Module):
    """Attention with torch's packed names; a prompt's alone is its own value."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def alone(self, x: Tensor) -> Tensor:
        """(B, C), every row by itself: the softmax over one key is 1."""
        width = x.shape[-1]
        value = F.linear(x, self.in_proj_weight[2 * width :], self.in_proj_bias[2 * width :])
        out: Tensor = self.out_proj(value)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """(N, C), every row sees all."""
        count, width = x.shape
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).unsqueeze(0)
        q, k, v = (split_heads(part, HEADS) for part in packed.chunk(3, dim=-1))
        weights = (q * (width // HEADS) ** -0.5) @ k.transpose(2, 3)
        mixed = (weights.softmax(dim=-1) @ v).transpose(1, 2).reshape(count, width)
        out: Tensor = self.out_proj(mixed)
        return out


class PixelAttention(nn.Module):
    """Attention of kernels to every pixel, whose keys and values are never made.

    As `exporter.models.absorbed_attention` says: the projections go to the kernels' side, and the
    bias of the keys is the same for all.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width)

    def forward(self, kernels: Tensor, pixels: Tensor) -> Tensor:
        """(B, C) kernels, (C, h w) pixels -> (B, C)."""
        batch, width = kernels.shape
        wide = width // HEADS
        weights, biases = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        q = F.linear(kernels, weights[0], biases[0]) * wide**-0.5
        q = q.reshape(batch, HEADS, wide).transpose(0, 1)
        q = (q @ weights[1].reshape(HEADS, wide, width)).reshape(HEADS * batch, width)
        mixed = (q @ pixels).softmax(dim=-1) @ pixels.transpose(0, 1)
        value = weights[2].reshape(HEADS, wide, width).transpose(1, 2)
        seen = mixed.reshape(HEADS, batch, width) @ value
        seen = seen.transpose(0, 1).reshape(batch, width) + biases[2]
        out: Tensor = self.attn.out_proj(seen)
        return out


class Stage(nn.Module):
    """One round: read under the masks, update the kernels, make new masks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel_update = KernelUpdate(width)
        self.s_atten = SelfAttention(width)
        self.s_atten_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 8 * width), nn.ReLU(), nn.Linear(8 * width, width)
        )
        self.ffn_norm = nn.LayerNorm(width)
        self.mask_fcs = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.LayerNorm(width), nn.ReLU()
        )
        self.fc_mask = nn.Linear(width, width)

    def forward(
        self, kernels: Tensor, masks: Tensor, pixels: Tensor, *, together: bool
    ) -> tuple[Tensor, Tensor]:
        """(B, C) kernels, (B, h w) logits, (C, h w) pixels -> new kernels and logits."""
        kernels = self.kernel_update(under(masks, pixels, self.kernel_update.share), kernels)
        attention = self.s_atten if together else self.s_atten.alone
        kernels = self.s_atten_norm(kernels + attention(kernels))
        kernels = self.ffn_norm(kernels + self.ffn(kernels))
        return kernels, self.fc_mask(self.mask_fcs(kernels)) @ pixels


def under(masks: Tensor, pixels: Tensor, share: float) -> Tensor:
    """Sum the features where the logits are above zero, padding too: (B, C), times `share`."""
    hard = (masks > 0).to(masks.dtype) * share
    return hard @ pixels.transpose(0, 1)


class RapSamHead(nn.Module):
    """Prompts -> masks: queries of points and boxes, the three stages, the adapter of prompts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mask_tokens = nn.Embedding(1, width)
        self.pb_embedding = nn.Embedding(2, width)
        self.pos_linear = nn.Linear(2 * width, width)
        self.stages = nn.ModuleList(Stage(width) for _ in range(STAGES))
        self.prompt_attn = PixelAttention(width)
        self.prompt_norm = nn.LayerNorm(width)
        self.prompt_iou = nn.Linear(width, 1)
        steps = 2.0 * math.pi / PERIOD ** (torch.arange(0, width // 2, 2) * 2.0 / width)
        self.register_buffer("steps", steps, persistent=False)
        self.steps: Tensor

    def queries(self, boxes: Tensor) -> Tensor:
        """Encode (B, 4) centre x, y and width, height as shares of the resized picture: (B, C).

        Points and boxes alike have row 1 of `pb_embedding`, in all published code.
        """
        inside = boxes.clamp(0.0, 1.0)
        low, high = inside.clamp(min=EPS), (1.0 - inside).clamp(min=EPS)
        share = low / (low + high)
        x, y, wide, tall = share.chunk(4, dim=-1)
        position = torch.cat([self._sines(each) for each in (y, x, wide, tall)], dim=-1)
        token = self.pb_embedding.weight[1:2] + self.mask_tokens.weight[0:1]
        out: Tensor = self.pos_linear(position) + token
        return out

    def _sines(self, share: Tensor) -> Tensor:
        """(B, 1) -> (B, C / 2): sines and cosines of the same angles, in turn."""
        angles = share * self.steps
        pairs = torch.stack([angles.sin(), angles.cos()], dim=2)
        return pairs.reshape(share.shape[0], -1)

    def forward(self, features: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Answer prompts.

        Args:
            features: (1, C, h, w), the encoder's.
            boxes: see `queries`.

        Returns:
            Logits (B, 1, h, w), and predicted IoUs (B, 1).
        """
        _, width, rows, columns = features.shape
        pixels = features.reshape(width, rows * columns)
        kernels = self.queries(boxes)
        masks = kernels @ pixels
        for stage in self.stages:
            kernels, masks = stage(kernels, masks, pixels, together=False)
        kernels = self.prompt_norm(kernels + self.prompt_attn(kernels, pixels))
        logits = (kernels @ pixels).reshape(-1, 1, rows, columns)
        return logits, self.prompt_iou(kernels)


class PanopticHead(nn.Module):
    """What the panoptic answer has besides the stages, which are the prompts'."""

    def __init__(self, width: int, queries: int, classifier: int) -> None:
        super().__init__()
        self.kernels = nn.Embedding(queries, width)
        self.update = KernelUpdate(width)
        self.project = nn.Linear(width, classifier)
        self.templates = 0
        # (D, classes * templates), of one class after another.
        self.register_buffer("texts", torch.zeros(classifier, 0), persistent=False)
        self.texts: Tensor

    def classify_by(self, texts: Tensor) -> None:
        """Take the classes.

        Args:
            texts: (classes, templates, D) text embeddings, each of length 1; a further class, all
                zero, is none of them.
        """
        whole = torch.cat([texts, torch.zeros_like(texts[:1])])
        self.templates = whole.shape[1]
        self.texts = whole.flatten(0, 1).transpose(0, 1).contiguous()

    @property
    def classes(self) -> int:
        """How many there are, the last of which is none; 0 without a classifier."""
        return self.texts.shape[1] // max(self.templates, 1)

    def forward(self, features: Tensor, stages: nn.ModuleList) -> tuple[Tensor, Tensor]:
        """Find everything.

        Args:
            features: (1, C, h, w), the encoder's.
            stages: the prompts' head's.

        Returns:
            Logits (1, Q, h, w), and class scores (1, Q, classes) before a softmax.
        """
        _, width, rows, columns = features.shape
        pixels = features.reshape(width, rows * columns)
        kernels = self.kernels.weight
        masks = kernels @ pixels
        for stage in stages:
            kernels, masks = stage(kernels, masks, pixels, together=True)
        kernels = self.update(under(masks, pixels, self.update.share), kernels)
        logits = (kernels @ pixels).reshape(1, -1, rows, columns)
        told = self.project(kernels)
        told = told / (told * told).sum(dim=-1, keepdim=True).sqrt().clamp(min=1e-12)
        cosines = (told @ self.texts).reshape(len(kernels), self.classes, self.templates)
        return logits, (cosines.amax(dim=-1) * LOGIT_SCALE).unsqueeze(0)
