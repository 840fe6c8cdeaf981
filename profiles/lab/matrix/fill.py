"""Weights for a variant whose checkpoint is not at hand: random, plausible, always the same.

Trained weights keep activations small; random ones need not. Without its batch norms' statistics a
residual network of 25 blocks grows to 1e7, which float16 cannot hold. So the statistics are
measured: the goldens' picture goes through the network, and each batch norm divides by the size of
its input.

Two rules keep the network from magnifying rounding, so that a float16 figure says something about
the lowering (`python -m profiles.lab.matrix.conditioning` measures it). A norm divides by the root
mean square and leaves the mean: of channels with mean 0, EfficientViT's attention, which averages
over pixels, would leave nothing but rounding. And a norm amplifies little: with every output
brought to size 1, each of RepViT's blocks adds as much as came in, and rounding the weights to
float16 leaves 27 dB of the embedding.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.goldens import SEED
from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.scenes.scene import scene
from exporter.variants import Slots, Variant
from profiles.lab.bench.weights import values

LARGEST_GAINS = tuple(2.0 ** (eighths / 8) for eighths in range(41))
"""Most that a batch norm may multiply by: the first of these at which no norm falls silent.

Fine steps: at a gain of 2, rounding the weights to float16 leaves 31 dB of EfficientViT-SAM XL1's
embedding; at 1.09, the first that does, 53."""
ALIVE = 1 / 8
"""Root mean square that each batch norm's output reaches before its weight and bias."""


def fill(variant: Variant) -> nn.Module:
    """Build the variant's network with filled weights, not frozen, in evaluation mode."""
    network = variant.layouts[0].build()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                drawn = values(name, tuple(tensor.shape), _stream(name))
                tensor.copy_(torch.from_numpy(drawn))
        _measure_statistics(network.eval(), variant)
    return network


def _stream(name: str) -> np.random.Generator:
    """Make a tensor's own generator, independent of the tensors before it."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def _measure_statistics(network: nn.Module, variant: Variant) -> None:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    picture = scene(SEED, *variant.preprocess.shape).image.transpose(2, 0, 1)[None]
    image = torch.from_numpy(np.ascontiguousarray(picture, dtype=np.float32))
    for gain in LARGEST_GAINS:
        statistics = _Statistics(gain)
        hooks = [norm.register_forward_pre_hook(statistics) for norm in norms]
        _run(network, variant, image)
        for hook in hooks:
            hook.remove()
        if statistics.quietest >= ALIVE:
            return


class _Statistics:
    """Hook before a batch norm: set its statistics to the mean square of each input channel.

    Attributes:
        quietest: smallest root mean square of a norm's output so far.
    """

    def __init__(self, largest_gain: float) -> None:
        self.least = largest_gain**-2
        self.quietest = math.inf

    def __call__(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        channels: Tensor = given[0]
        axes = [axis for axis in range(channels.dim()) if axis != 1]
        power = channels.square().mean(axes)
        divisor = power.clamp(min=self.least)
        module.running_mean.zero_()  # type: ignore[operator]
        module.running_var.copy_(divisor)  # type: ignore[operator]
        self.quietest = min(self.quietest, float((power / divisor).mean().sqrt()))


def _run(network: nn.Module, variant: Variant, image: Tensor) -> None:
    """Run the parts that see the picture; our decoders have no batch norms."""
    if isinstance(variant.prompting, Slots):
        rule = variant.preprocess
        mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (rule.mean, rule.std))
        network.image_encoder((image - mean) / std)  # type: ignore[operator]
        return
    for graph in graphs_of(network, variant, prompt_rule(variant)):
        named = zip(graph.spec.inputs, graph.example, strict=True)
        graph.module(*(image if spec.name == "image" else example for spec, example in named))
