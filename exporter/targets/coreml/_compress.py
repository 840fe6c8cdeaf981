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


def lower_by(work: Lowering, compress: Callable[[Any, GraphFile], Any]) -> GraphFile:
    """Write `GRAPH.mlpackage` in float16, then compress it in place.

    Args:
        work: the graph and where to.
        compress: takes a coremltools model and its file, returns the compressed model.
    """
    import coremltools as ct

    file = in_float16(work)
    path = work.folder / file.file
    small = compress(ct.models.MLModel(str(path), skip_model_load=True), file)
    shutil.rmtree(path)
    small.save(str(path))
    make_reproducible(path)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return dataclasses.replace(file, bytes=size)


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
