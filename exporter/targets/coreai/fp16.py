"""Weights and arithmetic in float16, but for islands and what half sums would break.

Apple's reference runtime adds half numbers one after another, which is the least that a phone's
units may do. Measured there, PARTS bring the demo's masks from 54.6 to 63 dB and its scores from 60
to 73 dB. Without self-attention MobileSAM's (filled weights) would have 60 and 52 dB, and without
the MLPs' first layer scores of two families 47; the README has the table with the cost in bytes.
"""

from __future__ import annotations

from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.islands import (
    HYPER_NETWORKS,
    IMAGE_ATTENTION,
    IOU_HEAD,
    MEMORY_ATTENTION,
    MLPS,
    SELF_ATTENTION,
    UPSCALING,
    WEIGHTED_SUMS,
)
from exporter.products import names_module
from exporter.targets import Lowering
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._half import in_half, kind_of, module_of
from exporter.targets.coreai._program import convert, exported

PARTS = (SELF_ATTENTION, IMAGE_ATTENTION, MLPS, HYPER_NETWORKS, UPSCALING, IOU_HEAD)
KEPT = (*PARTS, MEMORY_ATTENTION, WEIGHTED_SUMS)
PATTERNS = tuple(pattern for part in KEPT for pattern in part.patterns)
ATTENTION = "scaled_dot_product_attention"
LONG = 512
"""Keys of an attention whose sums are long. Encoders' windows have 256 at most."""


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` in float16."""
    return save(program_of(work), work)


def program_of(work: Lowering) -> Any:
    """Make the Core AI program in float16."""
    half = in_half(exported(work.graph), work.precision.keeps_float, _stays_float)
    return convert(half, work.graph.spec)


def _stays_float(node: Any) -> bool:
    if names_module(module_of(node), PATTERNS):
        return True
    return kind_of(node) == ATTENTION and node.args[1].meta["val"].shape[-2] >= LONG
