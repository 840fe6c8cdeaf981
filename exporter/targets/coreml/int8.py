"""Convolutions and linear layers in 8 bits, weights and activations; all else float16. iOS 17.

    x -> [linear] -> y    becomes    x -> quantize -> dequantize -> [linear, 8 bits] -> y

coremltools puts the pairs in by itself, but takes ranges from Core ML on a Mac alone. Its pass is
given ours instead, which our interpreter finds on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreml._compress import lower_by, name_of, shape_of, store

RANGES_MODULE = "runtimes.engines.mil.ranges"
IOS_17 = 8
"""The version of a package, as coremltools counts."""
PRODUCTS = frozenset({"conv", "linear"})
PAIRS = "compression::insert_prefix_quantize_dequantize_pair"
"""Before an operation alone: a pair behind it too would round the same values once more."""


@dataclass(frozen=True)
class Product:
    """A convolution or linear layer, its input, and how many positions that has."""

    kind: str
    name: str
    input: str
    positions: int


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with 8-bit convolutions and linear layers."""

    def compress(model: Any, file: GraphFile, kept: Any) -> Any:
        every = list(products(model.get_spec()))
        watched = dict.fromkeys(each.input for each in every)
        ranges = work.find_ranges(RANGES_MODULE, file, watched)
        stats = {name: {"rmin": one.low, "rmax": one.high} for name, one in ranges.items()}
        fine = [each.name for each in every if work.is_fine(each.positions)]
        return store(_with_pairs(model, stats, [*fine, *kept]), kept)

    return lower_by(work, compress)


def products(spec: Any) -> Iterator[Product]:
    """Find the operations of PRODUCTS in a model's protobuf, in execution order."""
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    shapes = {given.name: shape_of(given.type) for given in function.inputs}
    for operation in block.operations:
        for output in operation.outputs:
            shapes[output.name] = shape_of(output.type)
        if operation.type in PRODUCTS:
            taken = operation.inputs["x"].arguments[0].name
            sides = shapes[taken]
            positions = math.prod(sides[2:] if operation.type == "conv" else sides[:-1])
            yield Product(operation.type, name_of(operation), taken, positions)


def _with_pairs(model: Any, stats: dict[str, dict[str, float]], fine: list[str]) -> Any:
    """Put the pairs in; `stats` is tensor -> {"rmin", "rmax"}, `fine` what stays float."""
    import coremltools.optimize.coreml as opt
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.models.utils import _apply_graph_pass

    asked = opt.experimental.OpActivationLinearQuantizerConfig(mode="linear")
    config = opt.OptimizationConfig(
        op_type_configs=dict.fromkeys(sorted(PRODUCTS), asked),
        op_name_configs=dict.fromkeys(fine),
    )
    pairs = PASS_REGISTRY[PAIRS]
    pairs.set_options([_option("config", config), _option("activation_stats", stats)])
    return _apply_graph_pass(model, pairs, spec_version=IOS_17)


def _option(name: str, value: Any) -> Any:
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption

    return PassOption(option_name=name, option_val=value)
