"""Constants in float16, arithmetic in float32: see `exporter.targets.onnx._stored`.

float16 arithmetic is not safe in ONNX Runtime. Its kernels for it, on arm64 alone, leave the demo's
masks 43.6 dB, because GELU's is coarse (59.7 dB with GELU in float32), and from release 1.24.1 on
sums overflow to NaN. On x86 it casts each operation to float32 and back, which is slower.
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
