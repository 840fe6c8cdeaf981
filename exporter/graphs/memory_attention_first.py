"""`memory_attention_first`: the same of an object with one memory, whose keys are not pooled."""

from __future__ import annotations

from torch import nn

from exporter.bundle.rules import PromptRule
from exporter.bundle.video import FIRST_ATTENTION
from exporter.graphs import Graph
from exporter.graphs.memory_attention import attention
from exporter.variants import Variant


def build(network: nn.Module, variant: Variant, prompts: PromptRule | None) -> Graph:
    """See `exporter.graphs`."""
    del prompts
    return attention(network, variant, FIRST_ATTENTION)
