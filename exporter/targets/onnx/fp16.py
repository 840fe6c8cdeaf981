"""Constants in float16, arithmetic in float32: see `exporter.targets.onnx._stored`.

float16 arithmetic is not safe in ONNX Runtime. On x86 it computes such a graph in float32 between
casts, which makes it slower. On arm64 its kernels add up in float16: the demo's masks come to
43.7 dB there, and some releases give NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.islands import Island, Step, leads_to
from exporter.targets import Lowering
from exporter.targets.onnx._stored import Weights, fits_half, halved
from exporter.targets.onnx.fp32 import exported, write


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.onnx` with its constants in float16, but those of islands."""
    return write(in_half_size(exported(work.graph), work.precision.keeps_float), work)


def in_half_size(model: Any, islands: Iterable[Island]) -> Any:
    """Rewrite `model` in place and return it.

    Args:
        model: an onnx.ModelProto.
        islands: what keeps its float32 constants.
    """
    nodes = model.graph.node
    steps = [Step(node.op_type, tuple(node.input), tuple(node.output)) for node in nodes]
    kept = {value for place in leads_to(steps, islands) for value in nodes[place].input}
    weights = Weights(model)
    for name in weights.names():
        if name not in kept and fits_half(weights.values(name)):
            weights.replace(name, halved)
    weights.finish()
    return model
