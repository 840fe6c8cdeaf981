"""A float16 .mlpackage to fewer bits, by coremltools' own passes."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets._palette import cluster
from exporter.targets.coreml._names import shorten
from exporter.targets.coreml.fp16 import lower as in_float16
from exporter.targets.coreml.fp32 import make_reproducible

LEAST_VALUES = 1024
"""Up to so many, a weight stays float16: little is saved, and the first layers are among them."""
GROUP = 16
"""Output channels that share a palette, if the package is for iOS 18; before, all of them do."""
WEIGHTED = {"conv": "weight", "linear": "weight", "conv_transpose": "weight", "matmul": "y"}
"""Operations with a weight of their own, and its name; of `matmul` those alone with a table."""


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
    shorten(path)
    make_reproducible(path)
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return dataclasses.replace(file, bytes=size)


def _kept(spec: Any, work: Lowering) -> list[str]:
    """List the operations that stay float."""
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    stored = {
        out.name: tuple(shape_of(out.type))
        for each in block.operations
        for out in each.outputs
        if each.type.startswith("const")
    }
    taken = [
        (each, stored.get(each.inputs[WEIGHTED[each.type]].arguments[0].name))
        for each in block.operations
        if each.type in WEIGHTED
    ]
    layers = [each for each, shape in taken if shape is not None]
    weights = [shape for _, shape in taken if shape is not None]
    stay = work.stays_float(weights, absorbs=False)
    return [name_of(each) for each, stays in zip(layers, stay, strict=True) if stays]


def name_of(operation: Any) -> str:
    """Read an operation's own name, which coremltools' configurations go by.

    Its output may have another: `op_105_cast_fp16` gives `var_105_cast_fp16`.
    """
    name: str = operation.attributes["name"].immediateValue.tensor.strings.values[0]
    return name


def shape_of(kind: Any) -> list[int]:
    """Read a tensor type's sides."""
    return [dimension.constant.size for dimension in kind.tensorType.dimensions]


def store(model: Any, kept: Any, linear: Any = None) -> Any:
    """Store every large weight in few bits.

    coremltools leaves a weight alone whose width no block divides, so the second pass takes it.

    Args:
        model: a coremltools model in float16.
        kept: what stays so, operation -> None.
        linear: configuration of linear layers' weights; None for that of the rest, which have 8
            bits and a scale for each output channel.
    """
    import coremltools.optimize.coreml as opt

    if linear is not None:
        config = opt.OptimizationConfig(op_type_configs={"linear": linear}, op_name_configs=kept)
        palettes = isinstance(linear, opt.OpPalettizerConfig)
        apply = opt.palettize_weights if palettes else opt.linear_quantize_weights
        model = apply(model, config)
    rest = opt.OptimizationConfig(global_config=scaled(8), op_name_configs=kept)
    return opt.linear_quantize_weights(model, rest)


def scaled(bits: int, block: int | None = None) -> Any:
    """A weight's configuration: whole numbers and a scale, for each output channel or block."""
    import coremltools.optimize.coreml as opt

    return opt.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype=f"int{bits}",
        granularity="per_block" if block else "per_channel",
        block_size=block or 1,
        weight_threshold=LEAST_VALUES,
    )


def in_palette(bits: int, minimum_ios: int) -> Any:
    """A weight's configuration: indices into a palette."""
    import coremltools.optimize.coreml as opt

    grouped = minimum_ios >= 18
    return opt.OpPalettizerConfig(
        mode="custom",
        lut_function=functools.partial(cluster, bits=bits),
        granularity="per_grouped_channel" if grouped else "per_tensor",
        group_size=GROUP,
        weight_threshold=LEAST_VALUES,
    )
