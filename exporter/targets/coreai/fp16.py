"""Weights and arithmetic in float16, but for islands and what half sums would break.

Apple's reference runtime adds half numbers one after another, which is the least that a phone's
units may do. Attention sums over thousands of keys; the hyper-networks and the upscaling make every
pixel of a mask, and no later layer mends them. In float32 they bring the demo's masks from 54 to
62 dB and their scores to 60 dB, and its decoder from 0.51 to 0.59 MB (MORE).
"""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.islands import HYPER_NETWORKS, UPSCALING
from exporter.products import names_module
from exporter.targets import Lowering
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._half import in_half, kind_of, module_of
from exporter.targets.coreai._program import convert, exported

KINDS = frozenset({"scaled_dot_product_attention"})
PATTERNS = (*HYPER_NETWORKS.patterns, *UPSCALING.patterns)


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` in float16."""
    return save(program_of(work), work)


def program_of(work: Lowering) -> Any:
    """Make the Core AI program in float16."""
    half = in_half(exported(work.graph), work.precision.keeps_float, _stays_float)
    return convert(half, work.graph.spec)


def _stays_float(node: Any) -> bool:
    return kind_of(node) in KINDS or names_module(module_of(node), PATTERNS)
