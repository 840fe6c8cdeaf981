"""Find the ranges of values in an ONNX graph: a process of its own, see `exporter.child`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from exporter import child
from exporter.calibration import Range, Task
from exporter.watching import Seen, answer, kept, samples, stride


def watch(task: Task) -> Iterator[dict[str, Seen]]:
    """Run every sample; yield what was seen of each tensor.

    ONNX Runtime reduces the tensors itself, so that none is ever kept whole.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(task.file))
    sides = [name for at in range(len(task.tensors)) for name in _reduce(model, task.tensors, at)]
    values = list(_thin(model, task)) if task.ranges == "mse" else []
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for inputs in samples(task):
        found = session.run(sides + values, inputs)
        ends = np.array(found[: len(sides)]).reshape(-1, 2).tolist()
        some = found[len(sides) :] or [None] * len(ends)
        yield {
            name: Seen(Range(low, high), values)
            for name, (low, high), values in zip(task.tensors, ends, some, strict=True)
        }


def _reduce(model: Any, tensors: tuple[str, ...], at: int) -> Iterator[str]:
    """Add the least and the largest value of a tensor to the outputs."""
    from onnx import TensorProto, helper

    for kind in ("Min", "Max"):
        name = f"range_{at}_{kind}"
        model.graph.node.append(
            helper.make_node(f"Reduce{kind}", [tensors[at]], [name], name, keepdims=0)
        )
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
        yield name


def _thin(model: Any, task: Task) -> Iterator[str]:
    """Add evenly spaced values of every tensor to the outputs, as `exporter.calibration.thin`."""
    from onnx import TensorProto, helper, numpy_helper

    sizes = _sizes(model)
    for at, tensor in enumerate(task.tensors):
        step = stride(sizes.get(tensor, 1), kept(task))
        name, flat = f"some_{at}", f"flat_{at}"
        given = {"shape": [-1], "starts": [0], "ends": [2**62], "axes": [0], "steps": [step]}
        for each, numbers in given.items():
            constant = numpy_helper.from_array(np.array(numbers, np.int64), f"{name}_{each}")
            model.graph.initializer.append(constant)
        ends = [f"{name}_{each}" for each in ("starts", "ends", "axes", "steps")]
        model.graph.node.extend(
            [
                helper.make_node("Reshape", [tensor, f"{name}_shape"], [flat], flat),
                helper.make_node("Slice", [flat, *ends], [name], name),
            ]
        )
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]))
        yield name


def _sizes(model: Any) -> dict[str, int]:
    """Elements of every tensor whose shape can be inferred."""
    import onnx

    del model.graph.value_info[:]  # it may be older than the graph
    graph = onnx.shape_inference.infer_shapes(model).graph
    every = (*graph.input, *graph.value_info, *graph.output)
    shapes = {each.name: [d.dim_value for d in each.type.tensor_type.shape.dim] for each in every}
    return {name: max(1, math.prod(shape)) for name, shape in shapes.items()}


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
