"""A full bank for both sides of a row of memory attention: seven memories, sixteen pointers."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from exporter.bundle.tensors import GraphSpec
from exporter.bundle.video import MEMORY_ATTENTION
from exporter.graphs import Graph, graph_of
from exporter.graphs.memory_attention import attention
from exporter.graphs.memory_query import embeddings
from exporter.models.layers import freeze
from exporter.models.sam2_video import Sam2Video
from exporter.variants import Variant
from profiles.lab.bench.published_memory import PublishedMemoryAttention


class WholeAttention(nn.Module):
    """`memory_query` and `memory_attention` in one: what the first object of a frame costs."""

    def __init__(self, network: Sam2Video) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_embeddings: Tensor, *bank: Tensor) -> Tensor:
        """See `exporter.graphs.memory_attention`."""
        return self.network.condition(self.network.query(image_embeddings), *bank)


def memory_sides(
    network: nn.Module, variant: Variant, rng: np.random.Generator
) -> tuple[nn.Module, dict[str, Tensor], Graph, tuple[Tensor, ...]]:
    """Build the published side with its inputs, and ours with its own.

    Args:
        network: filled, not frozen.
        variant: with its memory.
        rng: for the bank's numbers.
    """
    theirs, ours = cast("Sam2Video", copy.deepcopy(network)), cast("Sam2Video", network)
    freeze(ours)
    alone = attention(ours, variant, MEMORY_ATTENTION)
    inputs = (embeddings(variant), *alone.spec.inputs[1:])
    spec = GraphSpec(alone.spec.name, inputs, alone.spec.outputs, "frame")
    drawn = {
        tensor.name: torch.from_numpy(rng.standard_normal(tensor.shape).astype(np.float32))
        for tensor in inputs
    }
    slots = drawn["memory_age"].shape[1]
    drawn["memory_age"] = torch.arange(slots, dtype=torch.float32)[None]
    pointers = drawn["pointer_age"].shape[1]
    drawn["pointer_age"] = torch.arange(pointers, dtype=torch.float32)[None] / (pointers - 1)
    published = PublishedMemoryAttention(theirs, list(range(slots))).eval().requires_grad_(False)
    given = {n: drawn[n] for n in ("image_embeddings", "memories", "object_pointers")}
    return published, given, graph_of(spec, WholeAttention(ours)), tuple(drawn.values())
