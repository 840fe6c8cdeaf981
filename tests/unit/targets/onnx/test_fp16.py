"""Constants of an ONNX graph in float16: which ones, and that the arithmetic stays float32."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from exporter.islands import COORDINATES
from exporter.targets.onnx.fp16 import in_half_size

COLUMNS = 256
RNG = np.random.default_rng(0)
WEIGHTS = {
    "frequencies": RNG.standard_normal((2, COLUMNS), np.float32),
    "both_sides": RNG.standard_normal((1, COLUMNS), np.float32),
    "projection": RNG.standard_normal((COLUMNS, COLUMNS), np.float32),
    "small": np.full((4,), 0.3, np.float32),
    "huge": np.full((COLUMNS, 4), 1e6, np.float32),
}
POINTS = np.array([[1000.7, 3.1], [511.3, 1023.9]], np.float32)


def fourier():
    """sin(points @ f * b) @ p * b @ h + s: the shape of a prompt encoder and what follows it."""
    nodes = [
        ("MatMul", ["points", "frequencies"], ["phase"]),
        ("Mul", ["phase", "both_sides"], ["turned"]),
        ("Sin", ["turned"], ["sine"]),
        ("MatMul", ["sine", "projection"], ["mixed"]),
        ("Mul", ["mixed", "both_sides"], ["scaled"]),
        ("MatMul", ["scaled", "huge"], ["few"]),
        ("Add", ["few", "small"], ["out"]),
    ]
    graph = helper.make_graph(
        [helper.make_node(*node, name=f"node_{at}") for at, node in enumerate(nodes)],
        "tiny",
        [helper.make_tensor_value_info("points", TensorProto.FLOAT, (2, 2))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (2, 4))],
        [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def run(model, options=None):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"points": POINTS})[0]


def expected(projection):
    given = WEIGHTS | {"projection": projection}
    sine = np.sin((POINTS @ given["frequencies"]) * given["both_sides"])
    return (sine @ given["projection"]) * given["both_sides"] @ given["huge"] + given["small"]


def test_what_an_island_reads_and_what_float16_cannot_hold_stays():
    model = in_half_size(fourier(), (COORDINATES,))
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    halves = [name for name, kind in kinds.items() if kind == TensorProto.FLOAT16]
    assert halves == ["projection_half"]
    assert set(kinds) == {*WEIGHTS, "projection_half"} - {"projection"}


def test_without_an_island_coordinates_are_rounded_too():
    model = in_half_size(fourier(), ())
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert kinds["frequencies_half"] == kinds["both_sides_half"] == TensorProto.FLOAT16


def test_only_storing_rounds():
    got = run(in_half_size(fourier(), (COORDINATES,)))
    once = WEIGHTS["projection"].astype(np.float16).astype(np.float32)
    scale = np.abs(got).max()
    # Sines of phases near 1000 differ between libraries by a few float32 steps of the phase.
    np.testing.assert_allclose(got / scale, expected(once) / scale, atol=2e-4)
    assert np.abs(got - expected(WEIGHTS["projection"])).max() > 0


def test_a_session_has_the_float32_graph_and_no_float16_kernel(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    run(in_half_size(fourier(), (COORDINATES,)), options)
    graph = onnx.load(tmp_path / "loaded.onnx").graph
    assert "Cast" not in {node.op_type for node in graph.node}
    assert {t.data_type for t in graph.initializer} == {TensorProto.FLOAT}
