"""Read the weights in an ONNX file. Nothing in it is run, and no other file is opened.

A file is a protobuf message: parsing it fills fields and executes nothing. Tensors whose bytes lie
in another file ("external data") name that file by a path, so they are refused.

torch's exporter keeps the names of parameters, except for those it changed: a convolution with its
batch norm folded in has weights named `onnx::Conv_248`, the number being the exporter's count of
values. Numbers differ from release to release; the order of operations does not. So a numbered
tensor is named here after its first use: `Conv.0.1` is input 1 (the weight) of the first `Conv`
that takes a numbered tensor, `Conv.0.2` its bias.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from exporter.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = npt.NDArray[np.generic]

_NUMBERED = re.compile(r"(onnx::\w+_)?\d+")
_NAMED_TYPES = {1: "float32", 10: "float16", 7: "int64", 6: "int32"}


def read_onnx_file(path: Path) -> dict[str, Array]:
    """Read every initialiser of the main graph, by name or by first use.

    Raises:
        CheckpointError: damaged, without weights, with external data or an unknown dtype; or
            the `onnx` package is not installed.
    """
    try:
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
        from onnx import ModelProto
    except ImportError as error:
        raise CheckpointError(
            "is an ONNX file, which the onnx package reads: pip install 'sam-export[onnx]'"
        ) from error
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise CheckpointError("truncated or damaged: not an ONNX model") from error
    if not all(isinstance(tensor.name, str) for tensor in model.graph.initializer):
        raise CheckpointError("damaged: a tensor's name is no UTF-8 text")
    names = dict(_names(model.graph))
    tensors: dict[str, Array] = {}
    for tensor in model.graph.initializer:
        name = names.get(tensor.name, tensor.name)
        if name in tensors:
            raise CheckpointError(f"holds two tensors called {name}")
        tensors[name] = _array(name, tensor)
    if not tensors:
        raise CheckpointError("is an ONNX file without weights")
    return tensors


def _names(graph: Any) -> Iterator[tuple[str, str]]:
    """Pair each numbered initialiser with a name from its first use."""
    numbered = {t.name for t in graph.initializer if _NUMBERED.fullmatch(t.name)}
    seen: dict[str, int] = {}
    for node in graph.node:
        slots = [(slot, name) for slot, name in enumerate(node.input) if name in numbered]
        if not slots:
            continue
        ordinal = seen.get(node.op_type, 0)
        seen[node.op_type] = ordinal + 1
        for slot, name in slots:
            numbered.discard(name)
            yield name, f"{node.op_type}.{ordinal}.{slot}"


def _array(name: str, tensor: Any) -> Array:
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise CheckpointError(
            f"keeps tensor {name:.100} in another file, which is not read: save the model whole"
        )
    if tensor.data_type not in _NAMED_TYPES:
        kinds = ", ".join(_NAMED_TYPES.values())
        raise CheckpointError(f"tensor {name:.100} has ONNX type {tensor.data_type}, not {kinds}")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"damaged: tensor {name:.100} has not the size it says") from error
    if array.size != math.prod(tensor.dims):
        raise CheckpointError(f"damaged: tensor {name:.100} has not the size it says")
    return array
