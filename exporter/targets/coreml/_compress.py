"""A float16 .mlpackage to fewer bits, by coremltools' own passes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreml.fp16 import lower as in_float16
from exporter.targets.coreml.fp32 import make_reproducible

LEAST_VALUES = 2048
"""A smaller weight stays float16; coremltools' own bound."""
BLOCK = 32
WEIGHTED = frozenset({"conv", "linear", "conv_transpose"})
"""Operations with a weight of their own."""


Compress = Callable[[Any, GraphFile, Any], Any]
"""A coremltools model, its file, what stays float (operation -> None) -> the compressed model."""


def lower_by(work: Lowering, compress: Compress) -> GraphFile:
    """Write `GRAPH.mlpackage` in float16, then compress it in place.

    Args:
        work: the graph and where to.
        compress: see `Compress`.
    """
    import coremltools as ct

    file = in_float16(work)
    path = work.folder / file.file
    model = ct.models.MLModel(str(path), skip_model_load=True)
    small = compress(model, file, dict.fromkeys(_kept(model.get_spec(), work)))
    shutil.rmtree(path)
    small.save(str(path))
    make_reproducible(path)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return dataclasses.replace(file, bytes=size)


def _kept(spec: Any, work: Lowering) -> list[str]:
    """List the operations that stay float."""
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    shapes = {out.name: shape_of(out.type) for each in block.operations for out in each.outputs}
    layers = [each for each in block.operations if each.type in WEIGHTED]
    weights = [tuple(shapes[each.inputs["weight"].arguments[0].name]) for each in layers]
    stay = work.stays_float(weights, absorbs=False)
    return [each.outputs[0].name for each, stays in zip(layers, stay, strict=True) if stays]


def shape_of(kind: Any) -> list[int]:
    """Read a tensor type's sides."""
    return [dimension.constant.size for dimension in kind.tensorType.dimensions]


def in_8_bits() -> Any:
    """A weight's configuration: 8 bits, a scale for each output channel."""
    import coremltools.optimize.coreml as opt

    return opt.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int8",
        granularity="per_channel",
        weight_threshold=LEAST_VALUES,
    )


def in_4_bits() -> Any:
    """A weight's configuration: 4 bits, a scale for each block of an output channel."""
    import coremltools.optimize.coreml as opt

    return opt.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int4",
        granularity="per_block",
        block_size=BLOCK,
        weight_threshold=LEAST_VALUES,
    )
