"""Weights and arithmetic in float16, but for islands: see `exporter.targets.coreai._half`."""

from __future__ import annotations

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._half import in_half
from exporter.targets.coreai._program import convert, exported

KEPT = frozenset({"scaled_dot_product_attention"})
"""Sums over thousands of keys: in half they cost the demo's decoder tens of dB."""


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` in float16."""
    program = in_half(exported(work.graph), work.precision.keeps_float, KEPT)
    return save(convert(program, work.graph.spec), work)
