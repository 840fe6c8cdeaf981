"""Ranges of a graph's values, found by a process of the target's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bundle.goldens import key
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.calibration import Range, Task, find_ranges
from exporter.errors import LoweringError, RequestError

MODULE = "exporter.targets.onnx._ranges"
SPEC = GraphSpec(
    "tiny",
    (TensorSpec("x", (1, 4), "float32", "NC"),),
    (TensorSpec("y", (1, 4), "float32", "NC"),),
    "image",
)


@pytest.fixture
def task(tmp_path):
    """y = log(x) of two pictures with two cases each."""

    def make(*samples):
        nodes = [
            helper.make_node("Log", ["x"], ["z"], name="log"),
            helper.make_node("Identity", ["z"], ["y"], name="end"),
        ]
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
        graph = helper.make_graph(nodes, "tiny", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, tmp_path / "tiny.onnx")
        pictures = []
        for at, cases in enumerate(samples):
            path = tmp_path / f"{at}.npz"
            np.savez(
                path,
                **{key("tiny", f"case_{i}", "x"): np.float32([one]) for i, one in enumerate(cases)},
            )
            pictures.append(path)
        return Task(tmp_path / "tiny.onnx", SPEC, ("x", "z"), tuple(pictures))

    return make


def test_ranges_are_of_all_cases_of_all_pictures(task):
    given = task([[1, 2, 3, 4], [0.5, 2, 2, 2]], [[1, 1, 1, 9]])
    ranges = find_ranges(MODULE, given)
    assert ranges["x"] == Range(0.5, 9.0)
    assert ranges["z"].low == pytest.approx(np.log(0.5))
    assert ranges["z"].high == pytest.approx(np.log(9.0))


def test_a_value_that_is_not_finite_is_an_error_and_not_a_range(task):
    with pytest.raises(LoweringError, match="'z' has values that are not finite"):
        find_ranges(MODULE, task([[0, 1, 1, 1]]))


def test_a_tensor_without_a_range_is_named(task):
    given = task([[1, 1, 1, 2]])
    with pytest.raises(LoweringError, match="calibration"):
        find_ranges(MODULE, Task(given.file, given.spec, ("x", "nowhere"), given.pictures))


def test_values_that_never_change_give_no_ranges(task):
    with pytest.raises(RequestError, match="no value ever changes"):
        find_ranges(MODULE, task([[2, 2, 2, 2]], [[2, 2, 2, 2]]))


def test_a_task_survives_the_way_to_the_child(task):
    given = task([[1, 1, 1, 2]])
    assert Task.from_data(given.to_data()) == given
