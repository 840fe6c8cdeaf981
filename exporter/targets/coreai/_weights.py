"""Weights of a Core AI program in few bits; its arithmetic stays half.

    w (f16) -> [conv2d]    becomes    steps (i8), scale (f16) -> blockwise_shift_scale -> [conv2d]
                           or         indices (u4), palette (f16) -> lut_to_dense -> [matmul]

The toolkit's own pass keeps a zero for every scale, and rounds by ranges that it widens a little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.manifest import GraphFile
from exporter.targets import Lowering
from exporter.targets._look_up import LEAST_VALUES as LEAST_TABLE
from exporter.targets._look_up import LookUp, look_up
from exporter.targets._palette import cluster
from exporter.targets.coreai._asset import save
from exporter.targets.coreai._constants import CONSTANT, constant, floats_of, is_stored, zeros
from exporter.targets.coreai._layers import Layer, layers
from exporter.targets.coreai.fp16 import program_of

WIDEN, LOOK_UP = "coreai.blockwise_shift_scale", "coreai.lut_to_dense"
LEAST_VALUES = 1024
"""Up to so many, a weight stays float16: little is saved, and the first layers are among them."""
GROUP = 16
"""Output channels that share a palette."""

Floats = npt.NDArray[np.floating[Any]]
Form = Callable[[Layer, Floats], Any]
"""A layer and its weight -> the weight as it is stored and widened, in operations before it."""


def lower_by(work: Lowering, linear: Form) -> GraphFile:
    """Write `GRAPH.aimodel`: weights of linear layers in a form, of convolutions in 8 bits."""
    program = program_of(work)
    compress(program, work, linear)
    compact(program)
    return save(program, work)


def compress(program: Any, work: Lowering, linear: Form) -> None:
    """Store the large weights of a program in few bits, but for those that stay float."""
    from coreai._compiler import ir

    found = list(layers(program))
    chosen = {  # by the constant: layers may share one
        hash(layer.constant): layer
        for layer, stays in zip(found, kept(work, found), strict=True)
        if not stays and math.prod(layer.shape) >= LEAST_VALUES
    }
    with program._module._mlir_module.context, ir.Location.unknown():
        for layer in chosen.values():
            with ir.InsertionPoint(layer.constant):
                form = linear if layer.is_linear else scaled(8)
                small = form(layer, floats_of(layer.constant))
            layer.constant.results[0].replace_all_uses_with(small)
            layer.constant.erase()


def kept(work: Lowering, found: Sequence[Layer]) -> list[bool]:
    """Tell which layers stay float."""
    return work.stays_float([each.shape for each in found], absorbs=False)


def scaled(bits: int, block: int | None = None) -> Form:
    """Whole numbers, symmetric, with a scale for each output channel, or block of its inputs.

    What no block divides has 8 bits and a scale for each channel.
    """

    def form(layer: Layer, weight: Floats) -> Any:
        fits = block is None or layer.shape[layer.input] % block == 0
        steps, scales = rounded(layer, weight, bits if fits else 8, block if fits else None)
        return _widened(steps, scales, bits if fits else 8, layer)

    return form


def rounded(
    layer: Layer, weight: Floats, bits: int, block: int | None
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round a weight to (steps, scales); scales have its rank, and a side for each that they cut.

    A scale is the largest magnitude over the largest step, in the weight's type and never less: so
    one that the weights were rounded for already is found exactly.
    """
    most = 2 ** (bits - 1) - 1
    cut = [1] * weight.ndim
    cut[layer.output] = weight.shape[layer.output]
    if block is not None:
        cut[layer.input] = weight.shape[layer.input] // block
    split = [side for n, whole in zip(cut, weight.shape, strict=True) for side in (n, whole // n)]
    blocks = weight.astype(np.float64).reshape(split)
    inner = tuple(range(1, 2 * weight.ndim, 2))
    exact = np.abs(blocks).max(axis=inner, keepdims=True) / most
    scales = exact.astype(weight.dtype)
    scales = np.where(scales < exact, np.nextafter(scales, weight.dtype.type(np.inf)), scales)
    scales = np.where(exact > 0, scales, weight.dtype.type(1))
    steps = np.clip(np.rint(blocks / scales.astype(np.float64)), -most, most).astype(np.int8)
    return steps.reshape(weight.shape), scales.reshape(cut)


def _widened(steps: npt.NDArray[np.int8], scales: Floats, bits: int, layer: Layer) -> Any:
    from coreai._compiler import ir

    kind = layer.constant.results[0].type
    whole = ir.IntegerType.get_signed(bits)
    operands = [
        constant(steps, whole),
        constant(scales, kind.element_type),
        zeros(scales.shape, whole),
        zeros(scales.shape, kind.element_type),
    ]
    return _operation(WIDEN, kind, operands)


def in_palette(bits: int) -> Form:
    """Indices into a palette for each GROUP of output channels."""

    def form(layer: Layer, weight: Floats) -> Any:
        groups = max(1, weight.shape[layer.output] // GROUP)
        if weight.shape[layer.output] % groups:
            groups = 1
        parts = np.split(weight, groups, axis=layer.output)
        found = [cluster(part, bits) for part in parts]
        indices = [each.reshape(part.shape) for (_, each), part in zip(found, parts, strict=True)]
        cut = [1] * weight.ndim
        cut[layer.output] = groups
        palettes = np.stack([palette for palette, _ in found]).reshape(*cut, 1 << bits, 1)
        return _looked_up(np.concatenate(indices, layer.output), palettes, layer.constant)

    return form


def _looked_up(indices: npt.NDArray[np.uint8], palettes: Floats, stored: Any) -> Any:
    """Put a look-up in a constant's place; `palettes` has two axes more, the last of side 1."""
    from coreai._compiler import ir

    kind = stored.results[0].type
    bits = int(palettes.shape[-2]).bit_length() - 1
    operands = [
        constant(indices, ir.IntegerType.get_unsigned(bits)),
        constant(palettes, kind.element_type),
        zeros((), ir.IntegerType.get_signed(16)),
    ]
    return _operation(LOOK_UP, kind, operands)


def _tables(program: Any) -> Iterator[tuple[Any, LookUp]]:
    """Find constants of few distinct values, as attention's biases are."""
    from coreai._compiler import ir

    found: list[Any] = []

    def look(operation: Any) -> Any:
        if operation.name == CONSTANT and is_stored(operation):
            found.append(operation)
        return ir.WalkResult.ADVANCE

    program._module._mlir_module.operation.walk(look)
    for stored in found:
        kind = stored.results[0].type
        floats = isinstance(kind.element_type, ir.F16Type | ir.F32Type)
        if floats and math.prod(kind.shape) >= LEAST_TABLE:
            table = look_up(floats_of(stored))
            if table is not None:
                yield stored, table


def compact(program: Any) -> None:
    """Store tables of few distinct values as such: the same values, in less of the file."""
    from coreai._compiler import ir

    with program._module._mlir_module.context, ir.Location.unknown():
        for stored, table in list(_tables(program)):
            shape = stored.results[0].type.shape
            cut = [1] * len(shape)
            cut[table.axis] = len(table.lut)
            with ir.InsertionPoint(stored):
                small = _looked_up(
                    np.ascontiguousarray(np.broadcast_to(table.indices, shape)),
                    table.lut.reshape(*cut, -1, 1),
                    stored,
                )
            stored.results[0].replace_all_uses_with(small)
            stored.erase()


def _operation(name: str, kind: Any, operands: list[Any]) -> Any:
    from coreai._compiler import ir

    return ir.Operation.create(name, results=[kind], operands=operands).results[0]
