"""`memory_encoder`: a frame's features and an object's mask become a memory."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.bundle.video import host_shapes
from exporter.graphs import Graph, graph_of
from exporter.graphs.memory_query import embeddings, rule_of
from exporter.models.sam2_video import Remembering
from exporter.variants import Variant


class MemoryEncoder(nn.Module):
    """`image_embeddings`, `mask_logits`, `from_prompt` and maybe `object_present` -> `memory`.

    See `exporter.models.sam2_video.Remembering.remember`.
    """

    def __init__(self, network: Remembering) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image_embeddings: Tensor,
        mask_logits: Tensor,
        from_prompt: Tensor,
        object_present: Tensor | None = None,
    ) -> Tensor:
        """See the class."""
        return self.network.remember(image_embeddings, mask_logits, from_prompt, object_present)


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    sam, rule = cast("Remembering", network), rule_of(variant)
    shapes = host_shapes(rule, "memory_encoder")
    layouts = {"mask_logits": "NCHW", "from_prompt": "B"}
    if sam.size.marks_absence:
        layouts["object_present"] = "B"
    given = (TensorSpec(name, shapes[name], "float32", layouts[name]) for name in layouts)
    memory = (1, rule.memory_tokens, rule.memory_width)
    spec = GraphSpec(
        "memory_encoder",
        (embeddings(variant), *given),
        (TensorSpec("memory", memory, "float32", "BTC"),),
        "frame",
    )
    return graph_of(spec, MemoryEncoder(sam))
