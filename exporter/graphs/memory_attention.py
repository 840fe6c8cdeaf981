"""`memory_attention`: a frame's features in the light of an object's memories."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import MEMORY_ATTENTION, host_shapes
from exporter.graphs import Graph, graph_of
from exporter.graphs.image_encoder import slots_of
from exporter.graphs.memory_query import query, rule_of
from exporter.models.sam2_video import Remembering
from exporter.variants import Variant

BANK = ("memories", "memory_age", "object_pointers", "pointer_age")
LAYOUTS = dict(zip(BANK, ("BMTC", "BM", "BPC", "BP"), strict=True))


class MemoryAttention(nn.Module):
    """`query` and a bank in slots -> `conditioned_embeddings` (1, C, g, g).

    A slot whose age is -1 is left out of every attention, whatever finite numbers it holds.
    """

    def __init__(self, network: Remembering) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        query: Tensor,
        memories: Tensor,
        memory_age: Tensor,
        object_pointers: Tensor,
        pointer_age: Tensor,
    ) -> Tensor:
        """See the class, and `exporter.models.memory_bank.BankEncoder`."""
        return self.network.condition(query, memories, memory_age, object_pointers, pointer_age)


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    return attention(network, variant, MEMORY_ATTENTION)


def attention(network: nn.Module, variant: Variant, name: str) -> Graph:
    """Make the graph of a name, which says how many memories it takes."""
    rule = rule_of(variant)
    shapes = host_shapes(rule, name)
    bank = (TensorSpec(each, shapes[each], "float32", LAYOUTS[each]) for each in BANK)
    out = TensorSpec("conditioned_embeddings", slots_of(variant).embedding, "float32", "NCHW")
    spec = GraphSpec(name, (query(variant), *bank), (out,), "frame")
    return graph_of(spec, MemoryAttention(cast("Remembering", network)))
