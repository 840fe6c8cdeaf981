"""Convolutions and linear layers in 8 bits, weights and activations; all else float16.

    x -> [matmul] -> y    becomes    x -> quantize -> dequantize -> [matmul, 8 bits] -> y

Ranges are found in torch: the program's own values have no names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporter.bundle.manifest import GraphFile
from exporter.calibration import Range, Task, require_ranges
from exporter.products import Watch, match, products, weight_paths
from exporter.targets import Lowering
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._constants import constant, scalar, zeros
from exporter.targets.coreai._layers import TRANSPOSED, Layer, layers
from exporter.targets.coreai._weights import compact, compress, kept, scaled
from exporter.targets.coreai.fp16 import program_of
from exporter.watching import Seen, answer, samples

LEVELS = 255


def lower(work: Lowering) -> GraphFile:
    """Write `GRAPH.aimodel` with 8-bit convolutions and linear layers."""
    program = program_of(work)
    chosen = [
        (layer, product.module)
        for layer, product in _as_products(work, list(layers(program)))
        if layer.operation.name != TRANSPOSED and not work.is_fine(layer.positions)
    ]
    ranges = _ranges(work, dict.fromkeys(module for _, module in chosen))
    _round_inputs(program, [(layer, ranges[module]) for layer, module in chosen])
    compress(program, work, scaled(8))
    compact(program)
    return save(program, work)


def _as_products(work: Lowering, found: Sequence[Layer]) -> Iterator[tuple[Layer, Any]]:
    """Pair the layers with the products of the torch graph; those that stay float are left out."""
    shapes = [layer.shape for layer in found]
    pairs = zip(found, match(products(work.graph), shapes), kept(work, found), strict=True)
    return ((layer, product) for layer, product, stays in pairs if product and not stays)


def _ranges(work: Lowering, modules: dict[str, None]) -> dict[str, Range]:
    """Find what the inputs of modules lie between, on the calibration's pictures."""
    given = work.pictures
    task = Task(work.folder, work.graph.spec, tuple(modules), given.files, given.ranges)

    def watch(task: Task) -> Iterator[dict[str, Seen]]:
        for inputs in samples(task):
            seen: dict[str, Seen] = {}

            def note(path: str, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
                module = path.rpartition(".")[0]
                if module in modules:
                    seen[module] = Seen.of(x.numpy(), task)  # noqa: B023 - used before the next
                return x, weight

            with torch.no_grad(), Watch(weight_paths(work.graph), note):
                work.graph.module(*(torch.from_numpy(array) for array in inputs.values()))
            yield seen

    return require_ranges(task, answer(watch)(task.to_data()))


def _round_inputs(program: Any, chosen: Sequence[tuple[Layer, Range]]) -> None:
    """Put a pair before each layer; layers that read the same value share one."""
    from coreai._compiler import ir

    made: dict[int, Any] = {}
    with program._module._mlir_module.context, ir.Location.unknown():
        for layer, within in chosen:
            value, operation = layer.operation.operands[0], layer.operation
            if hash(value) not in made:
                with ir.InsertionPoint(operation):
                    made[hash(value)] = _pair(value, within)
            operation.operands[0] = made[hash(value)]


def _pair(value: Any, within: Range) -> Any:
    """Round a value to 8 bits and widen it again; zero is a step, so that padding stays exact."""
    from coreai._compiler import ir

    kind = value.type
    low, high = min(within.low, 0.0), max(within.high, 0.0)
    scale = _representable((high - low) / LEVELS or 1.0, kind.element_type.width)
    whole = ir.IntegerType.get_unsigned(8)
    parameters = [
        scalar(scale, kind.element_type),
        scalar(min(LEVELS, round(-low / scale)), whole),
        zeros((), kind.element_type),
        constant(np.arange(kind.rank, dtype=np.int32), ir.IntegerType.get_signed(32)),
    ]
    steps = ir.RankedTensorType.get(kind.shape, whole)
    create = ir.Operation.create
    small = create("coreai.quantize", results=[steps], operands=[value, *parameters]).results[0]
    return create("coreai.dequantize", results=[kind], operands=[small, *parameters]).results[0]


def _representable(scale: float, width: int) -> float:
    """Return the next number of a float type that is not less."""
    if width != 16:
        return scale
    half = np.float16(scale)
    return float(np.nextafter(half, np.float16(np.inf)) if float(half) < scale else half)
