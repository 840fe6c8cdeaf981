"""`memory_query`: what looks at the memories, once a frame for all objects."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import VideoRule
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import features, slots_of
from exporter.models.sam2_video import Remembering
from exporter.variants import Variant


class MemoryQuery(nn.Module):
    """`image_embeddings` (1, C, g, g) -> `query` (1, 1, g * g, C).

    The first layer of memory attention looks around in the image before it looks back. That sees no
    memory, so every object shares it.
    """

    def __init__(self, network: Remembering) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_embeddings: Tensor) -> Tensor:
        """See the class."""
        return self.network.query(image_embeddings)


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    spec = GraphSpec("memory_query", (embeddings(variant),), (query(variant),), "frame")
    return graph_of(spec, MemoryQuery(cast("Remembering", network)))


def embeddings(variant: Variant) -> TensorSpec:
    """Describe the encoder's first output."""
    return features(slots_of(variant))[0]


def query(variant: Variant) -> TensorSpec:
    """Describe what `memory_query` gives."""
    _, width, rows, columns = slots_of(variant).embedding
    return TensorSpec("query", (1, 1, rows * columns, width), "float32", "B1NC")


def rule_of(variant: Variant) -> VideoRule:
    """Return how the variant follows objects. TypeError if it does not."""
    if variant.video is None:
        raise TypeError(f"{variant.name} has no memory")
    return variant.video
