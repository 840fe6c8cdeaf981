"""What Core AI's half arithmetic leaves in float32."""

from __future__ import annotations

import pytest

from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.products import names_module
from exporter.targets.coreai.fp16 import PATTERNS
from exporter.variants import load_variant
from exporter.variants._video import with_memory


def test_attention_to_memories_stays_float():
    pytest.importorskip("coreai_torch")
    from exporter.targets.coreai._half import kind_of, module_of
    from exporter.targets.coreai._program import exported

    variant = with_memory(load_variant("demo"))
    network = freeze(variant.layouts[0].build().eval())
    graphs = {graph.spec.name: graph for graph in graphs_of(network, variant, prompt_rule(variant))}
    kept = {"bmm": set[bool](), "_softmax": set[bool](), "relu": set[bool]()}
    for node in exported(graphs["memory_attention"]).graph.nodes:
        kept.get(kind_of(node), set[bool]()).add(names_module(module_of(node), PATTERNS))
    assert kept == {"bmm": {True}, "_softmax": {True}, "relu": {False}}
