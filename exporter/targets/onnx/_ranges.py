"""Find the ranges of values in an ONNX graph: a process of its own, see `exporter.child`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from exporter import child
from exporter.calibration import Task, answer


def watch(task: Task) -> Iterator[dict[str, tuple[float, float]]]:
    """Run every sample; yield the least and the largest value of each tensor.

    ONNX Runtime reduces the tensors itself, so that none is ever kept whole.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(task.file))
    outputs = [name for at in range(len(task.tensors)) for name in _reduce(model, task.tensors, at)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for inputs in task.samples():
        values = np.array(session.run(outputs, inputs)).reshape(-1, 2)
        yield {
            name: (low, high)
            for name, (low, high) in zip(task.tensors, values.tolist(), strict=True)
        }


def _reduce(model: Any, tensors: tuple[str, ...], at: int) -> Iterator[str]:
    from onnx import TensorProto, helper

    for kind in ("Min", "Max"):
        name = f"range_{at}_{kind}"
        model.graph.node.append(
            helper.make_node(f"Reduce{kind}", [tensors[at]], [name], name, keepdims=0)
        )
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
        yield name


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
