"""Weights for a variant whose checkpoint is not at hand: random, plausible, always the same.

Trained weights keep activations small; random ones need not. Without its batch norms' statistics a
residual network of 25 blocks grows to 1e7, which no float16 holds. So the statistics are measured:
the goldens' picture goes through the network, and each batch norm takes those of what it gets.
(Another picture's would not do: where attention has made all pixels alike, one picture's variance
is next to nothing, and another lies a hundred times it away.)
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.bench.weights import values
from exporter.demo.scenes import scene
from exporter.goldens import SEED
from exporter.graphs import split
from exporter.variants import Variant

LEAST_VARIANCE = 1e-3
"""A channel that hardly varies is not blown up."""


def filled(variant: Variant) -> nn.Module:
    """The variant's network, not frozen yet, in evaluation mode."""
    network = variant.layouts[0].build()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                drawn = values(name, tuple(tensor.shape), _stream(name))
                tensor.copy_(torch.from_numpy(drawn))
        _measure_statistics(network.eval(), variant)
    return network


def _stream(name: str) -> np.random.Generator:
    """Each tensor has its own, whatever stands before it."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def _measure_statistics(network: nn.Module, variant: Variant) -> None:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    hooks = [norm.register_forward_pre_hook(_take_statistics) for norm in norms]
    side = variant.preprocess.size
    picture = scene(SEED, side, side).image.transpose(2, 0, 1)[None]
    _run(network, variant, torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32)))
    for hook in hooks:
        hook.remove()


def _take_statistics(module: nn.Module, given: tuple[Any, ...]) -> None:
    """Before a batch norm runs: mean and variance of each channel of its input."""
    channels: Tensor = given[0]
    axes = [axis for axis in range(channels.dim()) if axis != 1]
    variance, mean = torch.var_mean(channels, axes, correction=0)
    module.running_mean.copy_(mean)  # type: ignore[operator]
    module.running_var.copy_(variance.clamp(min=LEAST_VARIANCE))  # type: ignore[operator]


def _run(network: nn.Module, variant: Variant, image: Tensor) -> None:
    """The picture through all that sees it; a decoder of ours has no batch norms."""
    if not variant.one_graph:
        rule = variant.preprocess
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (rule.mean, rule.std))
        network.image_encoder((image - mean) / std)  # type: ignore[operator]
        return
    for graph in split(network, variant, batch=1, slots=8):
        named = zip(graph.spec.inputs, graph.example, strict=True)
        graph.module(*(image if spec.name == "image" else example for spec, example in named))
