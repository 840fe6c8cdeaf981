"""Convolutions and linear layers in 8 bits, weights and activations; all else float16. iOS 17.

    x -> [linear]    becomes    x -> quantize -> dequantize -> [linear, int8 weight] -> ...

coremltools puts the pairs in by itself, but takes ranges from Core ML on a Mac alone. Its passes are
given ours instead, which our interpreter finds on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets.coreml.compress import lower_by
from exporter.targets.coreml.int8_weights import compress as compress_weights

RANGES_MODULE = "runtimes.engines.mil.ranges"
PRODUCTS = frozenset({"conv", "linear"})
PAIRS = (
    "compression::insert_prefix_quantize_dequantize_pair",
    "compression::insert_suffix_quantize_dequantize_pair",
)
JOINS = "common::dequantize_quantize_pair_elimination"
"""A pair after an operation and the next one's are one."""


@dataclass(frozen=True)
class Product:
    """A convolution or linear layer: its name, its input's, its output's, its input's positions."""

    kind: str
    name: str
    input: str
    positions: int


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.mlpackage` with 8-bit convolutions and linear layers."""

    def compress(model: Any, file: GraphFile) -> Any:
        every = list(products(model.get_spec()))
        watched = dict.fromkeys(name for each in every for name in (each.input, each.name))
        ranges = work.find_ranges(RANGES_MODULE, file, watched)
        stats = {name: {"rmin": one.low, "rmax": one.high} for name, one in ranges.items()}
        fine = [each.name for each in every if work.is_fine(each.positions)]
        return compress_weights(_with_pairs(model, stats, fine), file)

    return lower_by(work, compress)


def products(spec: Any) -> Iterator[Product]:
    """Find the operations of PRODUCTS in a model's protobuf, in execution order."""
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    shapes = {given.name: _shape(given.type) for given in function.inputs}
    for operation in block.operations:
        for output in operation.outputs:
            shapes[output.name] = _shape(output.type)
        if operation.type in PRODUCTS:
            taken = operation.inputs["x"].arguments[0].name
            sides = shapes[taken]
            positions = 1
            for side in sides[2:] if operation.type == "conv" else sides[:-1]:
                positions *= side
            yield Product(operation.type, operation.outputs[0].name, taken, positions)


def _shape(kind: Any) -> list[int]:
    return [dimension.constant.size for dimension in kind.tensorType.dimensions]


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
    passes = [PASS_REGISTRY[name] for name in PAIRS]
    for each in passes:
        each.set_options([_option("config", config), _option("activation_stats", stats)])
    for each in (*passes, PASS_REGISTRY[JOINS]):
        model = _apply_graph_pass(model, each, spec_version=_VERSION_OF_IOS_17)
    return model


_VERSION_OF_IOS_17 = 8


def _option(name: str, value: Any) -> Any:
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption

    return PassOption(option_name=name, option_val=value)
