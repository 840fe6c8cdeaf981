"""Exact edits of a float network that are said to help few bits; see `__main__` for what they do.

Each returns a network that computes the same numbers, so only rounding tells them apart.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from exporter.calibration import Range
from exporter.graphs import Graph
from exporter.models.mask_decoder import TwoWayTransformer
from exporter.models.tiny_vit import Mlp, WindowAttention
from exporter.precision import BLOCK
from exporter.rounding import round_values, round_weight

KDE_POINTS, LEAST_HEIGHT, LEAST_DISTANCE = 128, 0.01, 32
"""PTQ4SAM's peak test: points of the density, height of a peak as a share of their sum, distance of
two peaks in points."""


def norms_before_linears(module: nn.Module) -> Iterator[tuple[str, nn.LayerNorm, list[nn.Linear]]]:
    """Find TinyViT's norms whose output only linear layers take: name, norm, those layers."""
    for name, each in module.named_modules():
        if isinstance(each, WindowAttention):
            yield name, each.norm, [m for m in each.frozen_qkv if isinstance(m, nn.Linear)]
        elif isinstance(each, Mlp):
            yield name, each.norm, [each.fc1]


def equalise(graph: Graph, largest: Mapping[str, Tensor], strength: float) -> Graph:
    """Move a scale of each channel from the values to the weights that take them.

        norm(gamma, beta) -> linear(W)   becomes   norm(gamma / s, beta / s) -> linear(W diag(s))

    s = max|x|^strength / max|W|^(1 - strength), channel by channel (SmoothQuant, Xiao et al. 2023).

    Args:
        graph: an encoder of TinyViT blocks.
        largest: name of a `norms_before_linears` -> (C,) largest magnitude that the norm gives.
        strength: 0 leaves the values' spread alone, 1 moves all of it to the weights.
    """
    module = copy.deepcopy(graph.module)
    for name, norm, linears in norms_before_linears(module):
        taken = torch.stack([each.weight.abs().amax(dim=0) for each in linears]).amax(dim=0)
        scale = largest[name] ** strength / taken ** (1 - strength)
        scale = scale / scale.log().mean().exp()
        with torch.no_grad():
            norm.weight.div_(scale)
            norm.bias.div_(scale)
            for each in linears:
                each.weight.mul_(scale)
    return _with(graph, module)


@dataclass
class Largest:
    """Hooks that note the largest magnitude of each channel that norms give."""

    found: dict[str, Tensor]

    @classmethod
    def watch(cls, module: nn.Module) -> tuple[Largest, list[Any]]:
        """Put the hooks in; returns what they note and the handles to remove them."""
        noted = cls({})
        handles = [
            norm.register_forward_hook(noted._hook(name))
            for name, norm, _ in norms_before_linears(module)
        ]
        return noted, handles

    def _hook(self, name: str) -> Any:
        def note(module: nn.Module, given: Any, output: Tensor) -> None:
            del module, given
            seen = output.abs().reshape(-1, output.shape[-1]).amax(dim=0)
            self.found[name] = torch.maximum(self.found[name], seen) if name in self.found else seen

        return note


def is_bimodal(values: np.ndarray[Any, Any]) -> bool:
    """Whether a Gaussian kernel density has just two peaks that count (PTQ4SAM)."""
    flat = values.ravel().astype(np.float64)
    width = flat.std() * len(flat) ** -0.2
    if width == 0:
        return False
    grid = np.linspace(flat.min(), flat.max(), KDE_POINTS)
    density = np.array([np.exp(-(((at - flat) / width) ** 2) / 2).sum() for at in grid])
    density /= density.sum()
    inner = density[1:-1]
    peaks = np.flatnonzero((inner > density[:-2]) & (inner >= density[2:])) + 1
    high = [at for at in peaks if density[at] >= LEAST_HEIGHT]
    kept: list[int] = []
    for at in sorted(high, key=lambda each: -density[each]):
        if all(abs(at - other) >= LEAST_DISTANCE for other in kept):
            kept.append(at)
    return len(kept) == 2


def fold_signs(graph: Graph, keys: Mapping[str, Tensor]) -> tuple[Graph, int]:
    """Turn the channels of bimodal keys whose mean is negative; queries turn with them.

        q . k   becomes   (q * s) . (k * s),   s = sign(mean of k's channel), folded into weights

    Args:
        graph: a decoder with a `TwoWayTransformer`.
        keys: name of a token-to-image attention -> (tokens, C) its keys on one picture.

    Returns:
        The graph, and how many attentions passed the peak test.
    """
    module = copy.deepcopy(graph.module)
    turned = 0
    for name, attention in keys_to_image(module):
        found = keys[name]
        if not is_bimodal(found.numpy()):
            continue
        turned += 1
        sign = torch.where(found.mean(dim=0) < 0, -1.0, 1.0)
        with torch.no_grad():
            for layer in (attention.k_proj, attention.q_proj):
                layer.weight.mul_(sign[:, None])
                layer.bias.mul_(sign)
    return _with(graph, module), turned


def keys_to_image(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Find the attentions from tokens to the image."""
    for name, each in module.named_modules():
        if isinstance(each, TwoWayTransformer):
            for at, layer in enumerate(each.layers):
                yield f"{name}.layers.{at}", layer.cross_attn_token_to_image
            yield f"{name}.final", each.final_attn_token_to_image


def round_output(bits: int) -> Any:
    """Make a hook that rounds what a module gives to 2**bits steps."""

    def hook(module: nn.Module, given: Any, output: Tensor) -> Tensor:
        del module, given
        return round_values(output, Range(float(output.min()), float(output.max())), bits)

    return hook


def hadamard(side: int) -> Tensor:
    """The orthogonal Hadamard matrix (side, side); side is a power of 2."""
    matrix = torch.ones(1, 1)
    while len(matrix) < side:
        matrix = torch.cat(
            [torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)]
        )
    return matrix / math.sqrt(side)


def rounded_rotated(weight: Tensor, bits: int) -> Tensor:
    """Round a weight in a rotated basis, and turn it back.

    W x = (W H) (H^T x) with H orthogonal: an outlier of one input is shared by all of its block.

    Args:
        weight: (out, in).
        bits: 8 or 4.
    """
    if weight.ndim != 2 or weight.shape[1] % BLOCK:
        return round_weight(weight, bits)
    turn = hadamard(BLOCK)
    blocks = weight.reshape(weight.shape[0], -1, BLOCK) @ turn
    back = round_weight(blocks.reshape(weight.shape), bits).reshape(blocks.shape) @ turn.T
    return back.reshape(weight.shape)


def _with(graph: Graph, module: nn.Module) -> Graph:
    return dataclasses.replace(graph, module=module)
