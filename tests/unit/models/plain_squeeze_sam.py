"""SqueezeSAM as plain functions of a published state dict: torch's own norms, nothing folded.

Written from the arithmetic of the published code alone, to hold ours against.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conformance import fill

WIDTHS = (64, 128, 128, 128, 128, 164, 256, 256)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRANSFORMER = "get_iou_predictions_and_mask_tokens"
Weights = dict[str, Tensor]


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor under its published name."""
    found: dict[str, tuple[int, ...]] = {"patch_embed.proj.0.weight": (64, 5, 2, 2)}
    found |= {f"patch_embed.proj.{n}": (64,) for n in ("0.bias", "1.weight", "1.bias")}
    for i, (cin, cout) in enumerate(pairwise((64, *WIDTHS))):
        middle = ".maxpool_conv.1" if i else ""
        found |= _double(f"unet_encoder.down_layers.{i}{middle}", cin, cout)
    for i, (cin, cout) in enumerate(pairwise(WIDTHS[::-1])):
        up = f"unet_decoder.unet_upscaling_layers.{i}"
        found |= _linear(f"{up}.up.upsampler_linear.0", cin, 4 * (cin // 2))
        found |= _norm(f"{up}.up.norm", 4 * (cin // 2))
        found |= _double(f"{up}.conv", cin // 2 + cout, cout)
    found |= {f"{TRANSFORMER}.iou_token.weight": (1, 256)}
    found |= {f"{TRANSFORMER}.mask_tokens.weight": (4, 256)}
    for i in range(2):
        layer = f"{TRANSFORMER}.transformer.layers.{i}"
        found |= _attention(f"{layer}.self_attn", 256)
        found |= _attention(f"{layer}.cross_attn_token_to_image", 128)
        found |= _attention(f"{layer}.cross_attn_image_to_token", 128)
        found |= _mlp(f"{layer}.mlp", 1, 256)
        for n in range(1, 5):
            found |= {f"{layer}.norm{n}.{leaf}": (256,) for leaf in ("weight", "bias")}
    found |= _attention(f"{TRANSFORMER}.transformer.final_attn_token_to_image", 128)
    last = f"{TRANSFORMER}.transformer.norm_final_attn"
    found |= {f"{last}.{leaf}": (256,) for leaf in ("weight", "bias")}
    for i in range(4):
        found |= _mlp(f"mask_decoder.output_hypernetworks_mlps.{i}", 2, 64)
    return found | _mlp("mask_decoder.iou_prediction_head", 2, 4)


def _linear(name: str, cin: int, cout: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (cout, cin), f"{name}.bias": (cout,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (width,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def _double(name: str, cin: int, cout: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for i, width in enumerate((cin, cout)):
        part = f"{name}.double_conv.{i}"
        found |= {f"{part}.conv.0.weight": (cout, width, 3, 3), f"{part}.conv.0.bias": (cout,)}
        found |= _norm(f"{part}.norm", cout)
    return found


def _attention(name: str, inner: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for part in ("q_proj", "k_proj", "v_proj"):
        found |= _linear(f"{name}.{part}", 256, inner)
    return found | _linear(f"{name}.out_proj", inner, 256)


def _mlp(name: str, hidden: int, out: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for i in range(hidden):
        found |= _linear(f"{name}.layers.{i}.0", 256, 256)
    return found | _linear(f"{name}.fc", 256, out)


def weights(salt: str = "squeeze") -> Weights:
    """Every tensor with values of plausible size."""
    return {
        name: torch.zeros((), dtype=torch.int64)
        if name.endswith("num_batches_tracked")
        else torch.from_numpy(fill.tensor(name, shape, salt))
        for name, shape in shapes().items()
    }


def five_channels(rgb: np.ndarray, points: list[list[float]], labels: list[int]) -> Tensor:
    """(H, W, 3) uint8 and prompts as published, box corners first, -> (1, 5, 512, 512)."""
    image = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    image = F.interpolate(image, (512, 512), mode="bilinear")
    image = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    scale = torch.tensor([512 / rgb.shape[1], 512 / rgb.shape[0]])
    places = torch.tensor(points, dtype=torch.float32) * scale
    rows, cols = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    box = torch.ones(512, 512)
    if labels[0] != 1:
        low, high = places[:2].min(dim=0).values, places[:2].max(dim=0).values
        box = ((cols >= low[0]) & (cols <= high[0]) & (rows >= low[1]) & (rows <= high[1])).float()
    near = torch.zeros(512, 512)
    for (x, y), label in zip(places, labels, strict=True):
        if label == 1:
            near[(cols - x) ** 2 + (rows - y) ** 2 <= 25.0] = 1.0
    return torch.cat([image, box[None, None], near[None, None]], dim=1)


def run(w: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """(1, 5, 512, 512) -> all four masks' logits (1, 4, 256, 256) and IoUs (1, 4)."""
    x = F.conv2d(x, w["patch_embed.proj.0.weight"], w["patch_embed.proj.0.bias"], stride=2)
    x = F.group_norm(x, 1, w["patch_embed.proj.1.weight"], w["patch_embed.proj.1.bias"])
    levels = []
    for i in range(8):
        name = f"unet_encoder.down_layers.{i}"
        x = _two(w, name, x) if i == 0 else _two(w, f"{name}.maxpool_conv.1", F.max_pool2d(x, 2))
        levels.append(x)
    tokens, x = _transform(w, levels[-1])
    for i in range(7):
        name = f"unet_decoder.unet_upscaling_layers.{i}"
        x = torch.cat([levels[6 - i], _four(w, f"{name}.up", x)], dim=1)
        x = _two(w, f"{name}.conv", x)
    masks = [
        torch.einsum(
            "bc,bchw->bhw", _perceive(w, f"mask_decoder.output_hypernetworks_mlps.{i}", t), x
        )
        for i, t in enumerate(tokens[:, 1:5].unbind(1))
    ]
    iou = _perceive(w, "mask_decoder.iou_prediction_head", tokens[:, 0])
    return torch.stack(masks, dim=1), iou


def _batch_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, w[f"{name}.weight"], w[f"{name}.bias"])


def _two(w: Weights, name: str, x: Tensor) -> Tensor:
    for i in range(2):
        part = f"{name}.double_conv.{i}"
        x = F.conv2d(x, w[f"{part}.conv.0.weight"], w[f"{part}.conv.0.bias"], padding=1).relu()
        x = _batch_norm(w, f"{part}.norm", x)
    return x


def _four(w: Weights, name: str, x: Tensor) -> Tensor:
    batch, _, height, width = x.shape
    x = _apply(w, f"{name}.upsampler_linear.0", x.permute(0, 2, 3, 1)).relu().permute(0, 3, 1, 2)
    x = _batch_norm(w, f"{name}.norm", x)
    x = x.reshape(batch, -1, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, -1, 2 * height, 2 * width)


def _apply(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _perceive(w: Weights, name: str, x: Tensor) -> Tensor:
    for i in range(3):
        if f"{name}.layers.{i}.0.weight" in w:
            x = _apply(w, f"{name}.layers.{i}.0", x).relu()
    return _apply(w, f"{name}.fc", x)


def _attend(w: Weights, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (
        _apply(w, f"{name}.{n}_proj", x).unflatten(2, (8, -1)).transpose(1, 2)
        for n, x in (("q", q), ("k", k), ("v", v))
    )
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    return _apply(w, f"{name}.out_proj", (scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def _layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, (256,), w[f"{name}.weight"], w[f"{name}.bias"])


def _transform(w: Weights, image: Tensor) -> tuple[Tensor, Tensor]:
    parts = [w[f"{TRANSFORMER}.{n}.weight"] for n in ("iou_token", "mask_tokens")]
    first = torch.cat([*parts, torch.zeros(1, 256)])[None]
    queries, keys = first, image.flatten(2).permute(0, 2, 1)
    for i in range(2):
        name = f"{TRANSFORMER}.transformer.layers.{i}"
        queries = queries if i == 0 else queries + first
        queries = queries + _attend(w, f"{name}.self_attn", queries, queries, queries)
        queries = _layer_norm(w, f"{name}.norm1", queries)
        asking = queries + first
        queries = queries + _attend(w, f"{name}.cross_attn_token_to_image", asking, keys, keys)
        queries = _layer_norm(w, f"{name}.norm2", queries)
        queries = _layer_norm(w, f"{name}.norm3", queries + _perceive(w, f"{name}.mlp", queries))
        asking = queries + first
        keys = keys + _attend(w, f"{name}.cross_attn_image_to_token", keys, asking, queries)
        keys = _layer_norm(w, f"{name}.norm4", keys)
    name = f"{TRANSFORMER}.transformer"
    asking = queries + first
    queries = queries + _attend(w, f"{name}.final_attn_token_to_image", asking, keys, keys)
    queries = _layer_norm(w, f"{name}.norm_final_attn", queries)
    return queries, keys.transpose(1, 2).reshape(image.shape)
