"""A float32 ONNX graph to float16: islands, casts, weights and what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from exporter.islands import COORDINATES
from exporter.targets.onnx.fp16 import to_half

ISLANDS = (COORDINATES,)
HALF = 2e-3  # of the maximum: a few float16 roundings


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def onnx_model(nodes, inputs, outputs, weights, values):
    """Nodes as (type, inputs, outputs, attributes); `values` types what lies between."""
    made = [
        helper.make_node(kind, ins, outs, name=f"{kind.lower()}_{i}", **attributes)
        for i, (kind, ins, outs, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made,
        "tiny",
        inputs,
        outputs,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
        value_info=values,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model, full_check=True)
    return model


def run_onnx(model, **inputs):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def types_of(model):
    """Value -> element type, as shape inference finds them."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    typed = (*graph.input, *graph.output, *graph.value_info)
    found = {v.name: v.type.tensor_type.elem_type for v in typed}
    return found | {t.name: t.data_type for t in graph.initializer}


def rounded(array):
    return array.astype(np.float16).astype(np.float32)


WEIGHT = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
POINTS = np.array([[1000.7, 3.1], [511.3, 1023.9]], np.float32)


def fourier():
    """sin(points @ w) @ w', the shape of a prompt encoder; `shared` is used on both sides."""
    shared = np.full((1, 4), 0.1, np.float32)
    return onnx_model(
        [
            ("MatMul", ["points", "weight"], ["phase"], {}),
            ("Mul", ["phase", "shared"], ["turned"], {}),
            ("Sin", ["turned"], ["sine"], {}),
            ("Mul", ["sine", "shared"], ["small"], {}),
            ("Add", ["small", "other"], ["out"], {}),
        ],
        [floats("points", (2, 2))],
        [floats("out", (2, 4))],
        {"weight": WEIGHT, "shared": shared, "other": np.full((4,), 0.3, np.float32)},
        [floats(name, (2, 4)) for name in ("phase", "turned", "sine", "small")],
    )


def test_the_island_keeps_float32_and_has_no_cast_inside():
    model = to_half(fourier(), ISLANDS)
    order = [node.op_type for node in model.graph.node]
    assert order == ["MatMul", "Mul", "Sin", "Cast", "Mul", "Add", "Cast"]
    types = types_of(model)
    for value in ("points", "weight", "phase", "turned", "sine", "out"):
        assert types[value] == TensorProto.FLOAT, value
    assert types["small"] == types["other"] == TensorProto.FLOAT16


def test_the_island_computes_in_float32():
    (got,) = run_onnx(to_half(fourier(), ISLANDS), points=POINTS)
    expected = np.sin((POINTS @ WEIGHT) * np.float32(0.1)) * 0.1 + 0.3
    np.testing.assert_allclose(got, expected, atol=5e-4)
    (lost,) = run_onnx(to_half(fourier(), ()), points=POINTS)
    assert np.abs(lost - expected).max() > 5e-3


def test_a_weight_of_both_sides_is_kept_twice():
    model = to_half(fourier(), ISLANDS)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    assert stored == {
        "weight": TensorProto.FLOAT,
        "shared": TensorProto.FLOAT,
        "shared_half": TensorProto.FLOAT16,
        "other": TensorProto.FLOAT16,
    }
    inputs = [list(node.input) for node in model.graph.node if node.op_type == "Mul"]
    assert inputs == [["phase", "shared"], ["sine_half", "shared_half"]]


def test_without_an_island_inputs_and_outputs_are_cast_once():
    model = onnx_model(
        [("Add", ["x", "x"], ["two"], {}), ("Mul", ["two", "x"], ["y"], {})],
        [floats("x", (3,))],
        [floats("y", (3,))],
        {},
        [floats("two", (3,))],
    )
    half = to_half(model, ISLANDS)
    assert [node.op_type for node in half.graph.node] == ["Cast", "Add", "Mul", "Cast"]
    types = types_of(half)
    assert (types["x"], types["two"], types["y"]) == (
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.FLOAT,
    )
    x = np.array([1.0, -2.5, 3.1], np.float32)
    np.testing.assert_allclose(run_onnx(half, x=x)[0], 2 * rounded(x) ** 2, rtol=HALF)


def test_a_resizes_scales_stay_float32():
    """ONNX has no float16 scales; the same values as a weight elsewhere do become float16."""
    nodes = [
        ("Resize", ["x", "", "factors"], ["large"], {"mode": "nearest"}),
        ("Mul", ["large", "factors"], ["y"], {}),
    ]
    model = onnx_model(
        nodes,
        [floats("x", (1, 1, 1, 4))],
        [floats("y", (1, 1, 1, 4))],
        {"factors": np.array([1, 1, 1, 1], np.float32)},
        [floats("large", (1, 1, 1, 4))],
    )
    half = to_half(model, ISLANDS)
    inputs = {node.op_type: list(node.input) for node in half.graph.node}
    assert inputs["Resize"] == ["x_half", "", "factors"]
    assert inputs["Mul"] == ["large", "factors_half"]
    x = np.array([[[[1.0, -2.5, 3.1, 0.1]]]], np.float32)
    np.testing.assert_allclose(run_onnx(half, x=x)[0], rounded(x), rtol=HALF)


def test_outputs_keep_their_names_order_and_type():
    """`a` is read by another node too; `s` is made inside the island."""
    model = onnx_model(
        [
            ("Sin", ["x"], ["s"], {}),
            ("Mul", ["s", "w"], ["a"], {}),
            ("Relu", ["a"], ["b"], {}),
        ],
        [floats("x", (4,))],
        [floats("b", (4,)), floats("a", (4,)), floats("s", (4,))],
        {"w": np.array([1.0, -2.0, 3.0, 0.5], np.float32)},
        [],
    )
    half = to_half(model, ISLANDS)
    assert [o.name for o in half.graph.output] == ["b", "a", "s"]
    kinds = {o.type.tensor_type.elem_type for o in half.graph.output}
    assert kinds == {TensorProto.FLOAT}
    x = np.array([0.1, 1.7, 1000.3, -4.0], np.float32)
    b, a, s = run_onnx(half, x=x)
    np.testing.assert_allclose(s, np.sin(x), atol=1e-6)
    expected = rounded(np.sin(x)) * np.array([1.0, -2.0, 3.0, 0.5], np.float32)
    np.testing.assert_allclose(a, expected, rtol=HALF)
    np.testing.assert_allclose(b, np.maximum(expected, 0), rtol=HALF)


def test_casts_follow_their_side():
    """A cast to float gives float16 outside the island, float32 inside; whole numbers stay."""
    model = onnx_model(
        [
            ("Cast", ["n"], ["f"], {"to": TensorProto.FLOAT}),
            ("Add", ["f", "x"], ["y"], {}),
            ("Cast", ["n"], ["g"], {"to": TensorProto.FLOAT}),
            ("Cos", ["g"], ["c"], {}),
            ("Cast", ["x"], ["k"], {"to": TensorProto.INT64}),
            ("Gather", ["y", "k"], ["picked"], {}),
        ],
        [helper.make_tensor_value_info("n", TensorProto.INT64, (3,)), floats("x", (3,))],
        [floats("picked", (3,)), floats("c", (3,))],
        {},
        [
            *(floats(name, (3,)) for name in ("f", "g", "y")),
            helper.make_tensor_value_info("k", TensorProto.INT64, (3,)),
        ],
    )
    half = to_half(model, ISLANDS)
    types = types_of(half)
    assert types["f"] == types["y"] == TensorProto.FLOAT16
    assert types["g"] == TensorProto.FLOAT
    assert types["k"] == types["n"] == TensorProto.INT64
    n, x = np.array([1001, 2, 3], np.int64), np.array([2.0, 0.0, 1.0], np.float32)
    picked, cosine = run_onnx(half, n=n, x=x)
    np.testing.assert_allclose(picked, (n + x)[[2, 0, 1]], rtol=HALF)
    np.testing.assert_allclose(cosine, np.cos(n.astype(np.float32)), atol=1e-6)


def test_one_weight_in_two_places_of_one_node():
    model = onnx_model(
        [
            ("Mul", ["w", "w"], ["sq"], {}),
            ("Add", ["sq", "x"], ["y"], {}),
            ("Sin", ["w"], ["s"], {}),
        ],
        [floats("x", (2,))],
        [floats("y", (2,)), floats("s", (2,))],
        {"w": np.array([1.5, -2.0], np.float32)},
        [floats("sq", (2,))],
    )
    half = to_half(model, ISLANDS)
    assert list(half.graph.node[[n.op_type for n in half.graph.node].index("Mul")].input) == [
        "w_half",
        "w_half",
    ]
    y, s = run_onnx(half, x=np.array([1.0, 1.0], np.float32))
    np.testing.assert_allclose(y, [3.25, 5.0], rtol=HALF)
    np.testing.assert_allclose(s, np.sin([1.5, -2.0]), atol=1e-6)
