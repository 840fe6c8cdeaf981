"""Ranges of a graph's values, found by a process of the target's."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bundle.goldens import key
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.calibration import Range, Task, find_ranges
from exporter.errors import LoweringError, RequestError
from exporter.watching import least_error, stride, thin

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
    given = dataclasses.replace(task([[1, 1, 1, 2]]), ranges="mse")
    assert Task.from_data(given.to_data()) == given


def test_a_tensor_of_one_value_gets_a_range_that_holds_zero_and_it(task):
    """y = log(x) is 0 of 1; quantisers divide by the width of a range."""
    given = task([[1, 1, 1, 1]], [[1, 1, 1, 1]])
    moving = dataclasses.replace(given, tensors=("x",))
    with pytest.raises(RequestError, match="no value ever changes"):
        find_ranges(MODULE, moving)
    assert Range(0.0, 0.0).widened() == Range(0.0, 1.0)
    assert Range(3.0, 3.0).widened() == Range(0.0, 3.0)
    assert Range(-3.0, -3.0).widened() == Range(-3.0, 0.0)
    assert Range(-3.0, 1.0).widened() == Range(-3.0, 1.0)


def rounding_error(values, one):
    step = (one.high - one.low) / 255
    rounded = np.clip(np.rint((values - one.low) / step), 0, 255) * step + one.low
    return float(np.square(values - rounded).mean())


def test_an_outlier_is_cut_off_if_that_lessens_the_error():
    values = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    values[0] = 60.0
    whole = Range(float(values.min()), 60.0)
    chosen = least_error(whole, values)
    assert chosen.low == pytest.approx(whole.low, rel=0.35)
    assert chosen.high < 40
    assert rounding_error(values, chosen) < 0.6 * rounding_error(values, whole)


def test_values_without_a_tail_keep_their_range():
    values = np.random.default_rng(0).uniform(-1, 3, 100_000).astype(np.float32)
    chosen = least_error(Range(-1.0, 3.0), values)
    assert chosen.low == pytest.approx(-1.0, abs=0.05)
    assert chosen.high == pytest.approx(3.0, abs=0.1)


def test_a_range_of_least_error_holds_zero():
    values = np.random.default_rng(0).uniform(2, 3, 1000).astype(np.float32)
    chosen = least_error(Range(2.0, 3.0), values)
    assert chosen.low == 0.0


def test_ranges_that_are_not_finite_are_left_to_the_check():
    broken = Range(-np.inf, 1.0)
    assert least_error(broken, np.float32([np.nan, 1.0])) == broken


@pytest.mark.parametrize("size", [1, 5, 1000, 64 * 64 * 64, 3 * 1024 * 1024])
@pytest.mark.parametrize("most", [1, 100, 16_384])
def test_thinning_keeps_so_many_values_and_all_channels(size, most):
    kept = thin(np.arange(size, dtype=np.float32), most)
    assert 1 <= kept.size <= most
    assert kept.size >= min(size, most) * 0.8 / (1 + 6 * most / size) or size < most
    step = stride(size, most)
    assert step == 1 or np.gcd(step, 2 * 3 * 5 * 7) == 1


def test_the_least_error_is_found_on_values_of_all_cases(task):
    rows = np.exp(np.random.default_rng(1).standard_t(3, (400, 4))).astype(np.float32)
    given = dataclasses.replace(task(rows[:200].tolist(), rows[200:].tolist()), ranges="mse")
    found, logs = find_ranges(MODULE, given)["z"], np.log(rows)
    expected = least_error(Range(float(logs.min()), float(logs.max())), logs.reshape(-1))
    assert found.low == pytest.approx(expected.low, rel=1e-5)
    assert found.high == pytest.approx(expected.high, rel=1e-5)
