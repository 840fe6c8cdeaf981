"""Find the ranges of values in a .tflite file: a process of its own, see `exporter.child`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporter import child
from exporter.calibration import Range, Task
from exporter.targets.tflite._file import write
from exporter.watching import Seen, answer, samples

MOST_BYTES = 2**29
"""Of the tensors that one run keeps whole."""
_WIDTH = 4
"""Bytes of a float32."""


def watch(task: Task) -> Iterator[dict[str, Seen]]:
    """Run every sample; yield what was seen of each tensor."""
    yield from _sides(task)
    if task.ranges == "mse":
        yield from _values(task)


def _sides(task: Task) -> Iterator[dict[str, Seen]]:
    """Have LiteRT find what all values of each tensor lie between, which needs no memory.

    LiteRT's own way of merging samples is a moving average, in which the first one weighs most;
    `min_max_update` merges as one would expect.
    """
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.utils import qsv_utils

    runner = calibrator.Calibrator(
        task.file.read_bytes(),
        num_threads=2,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    recipe = recipe_manager.RecipeManager()
    recipe.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 8, 8)
    for inputs in samples(task):
        runner.calibrate({task.spec.name: [inputs]}, recipe)
    for name, sides in runner.get_model_qsvs().items():
        if name in task.tensors:
            yield {name: Seen(Range(float(sides["min"].min()), float(sides["max"].max())))}


def _values(task: Task) -> Iterator[dict[str, Seen]]:
    """Run copies of the graph that have some of the tensors as outputs: others are not kept."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(task.file))
    graph = model.subgraphs[0]
    own = list(graph.outputs)
    sizes = {
        tensor.name.decode(): math.prod(map(int, tensor.shape)) * _WIDTH for tensor in graph.tensors
    }
    places = {tensor.name.decode(): at for at, tensor in enumerate(graph.tensors)}
    for names in _groups(task.tensors, sizes):
        graph.outputs = [*own, *(places[name] for name in names if places[name] not in own)]
        file = task.file.with_suffix(".outputs")
        write(model, file)
        try:
            interpreter = Interpreter(model_path=str(file), num_threads=2)
            interpreter.allocate_tensors()
        finally:
            file.unlink()
        yield from _runs(interpreter, task, {name: places[name] for name in names})


def _runs(interpreter: Any, task: Task, places: Mapping[str, int]) -> Iterator[dict[str, Seen]]:
    signature = interpreter._get_full_signature_list()[task.spec.name]["inputs"]
    for inputs in samples(task):
        for name, array in inputs.items():
            interpreter.set_tensor(signature[name], array)
        interpreter.invoke()
        yield {name: Seen.of(interpreter.get_tensor(at), task) for name, at in places.items()}


def _groups(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Split the tensors into groups of MOST_BYTES, or one tensor if that is larger."""
    group: list[str] = []
    for name in names:
        if group and sum(sizes[each] for each in (*group, name)) > MOST_BYTES:
            yield group
            group = []
        group.append(name)
    if group:
        yield group


if __name__ == "__main__":
    sys.exit(child.serve(answer(watch)))
