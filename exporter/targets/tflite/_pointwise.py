"""1 x 1 convolutions of a float .tflite file as fully connected layers.

    x (1, H, W, I) -> [CONV_2D, filter (O, 1, 1, I)] -> y (1, H, W, O)
    x (1, H, W, I) -> [FULLY_CONNECTED, weights (O, I)] -> y (1, H, W, O)

The same sums, and as fast. But LiteRT can round what a fully connected layer takes to 8 bits as it
runs, each position by its own range, and give float32; a convolution in 8 bits needs one range for
all positions, and another for its output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporter.targets.tflite._file import write

KEEPS_DIMENSIONS = 5
"""Version of FULLY_CONNECTED from which its output may have the input's rank."""


def to_linear(path: Path, wanted: Callable[[int], bool]) -> None:
    """Rewrite 1 x 1 convolutions of stride 1 that give more channels than they take.

    Args:
        path: the file, changed in place.
        wanted: number of positions of the input -> whether to.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    for graph in model.subgraphs:
        readers = Counter(int(index) for operator in graph.operators for index in operator.inputs)
        for operator in graph.operators:
            kind = model.operatorCodes[operator.opcodeIndex].builtinCode
            if kind != schema.BuiltinOperator.CONV_2D:
                continue
            image, weights = (graph.tensors[index] for index in operator.inputs[:2])
            positions = int(image.shape[1]) * int(image.shape[2])
            alone = readers[int(operator.inputs[1])] == 1
            if alone and _spreads(operator, weights) and wanted(positions):
                weights.shape = [weights.shape[0], weights.shape[3]]
                operator.opcodeIndex = _fully_connected(model)
                operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
                operator.builtinOptions = _options(operator.builtinOptions.fusedActivationFunction)
    rewritten = path.with_suffix(".linear")
    write(model, rewritten)
    rewritten.replace(path)


def _spreads(operator: Any, weights: Any) -> bool:
    """Whether it is 1 x 1 and gives more channels than it takes.

    Rounding costs time for each channel taken: a layer that gives fewer is no faster so.
    """
    options = operator.builtinOptions
    sides = (*map(int, weights.shape[1:3]), options.strideH, options.strideW)
    return set(sides) == {1} and int(weights.shape[0]) > int(weights.shape[3])


def _fully_connected(model: Any) -> int:
    """The place of the operation's code, which is added if there is none."""
    from ai_edge_litert import schema_py_generated as schema

    kind = schema.BuiltinOperator.FULLY_CONNECTED
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == kind and code.version >= KEEPS_DIMENSIONS:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = KEEPS_DIMENSIONS
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _options(activation: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction, options.keepNumDims = activation, True
    return options
