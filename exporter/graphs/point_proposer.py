"""`point_proposer`: what a head on the embedding says of clicks on the image, once a picture.

    image_embeddings -> [point_proposer] -> point_scores

`runtimes.everything.methods.proposed` asks for clicks on its peaks.
"""

from __future__ import annotations

from torch import nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import slots_of
from exporter.variants import Variant


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`. The head's weights are the variant's, not the network's file's."""
    del network, prompts
    if variant.proposer is None:
        raise TypeError(f"{variant.name} has no head that proposes points")
    shape = slots_of(variant).embedding
    embedding = TensorSpec("image_embeddings", shape, "float32", "NCHW")
    scores = TensorSpec("point_scores", (1, 1, *shape[2:]), "float32", "NCHW")
    spec = GraphSpec("point_proposer", (embedding,), (scores,), "image")
    return graph_of(spec, variant.proposer().requires_grad_(requires_grad=False))
