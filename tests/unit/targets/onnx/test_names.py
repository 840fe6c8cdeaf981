"""Names of an ONNX graph: short where a session folds, torch's own elsewhere."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from exporter.targets.onnx._names import shorten_names

X = np.array([[1.0, 2.0]], np.float32)


def model_of(nodes, constants, outputs=("y",)):
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, name=name) for kind, ins, outs, name in nodes],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def run(model):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": X})


def shortened(model):
    """The model after, with outputs compared."""
    before = run(model)
    shorten_names(model)
    for one, other in zip(before, run(model), strict=True):
        np.testing.assert_array_equal(one, other)
    return [(node.name, list(node.input), list(node.output)) for node in model.graph.node]


def test_only_what_is_folded_gets_short_names():
    model = model_of(
        [
            ("Mul", ["w_steps", "w_scales"], ["blocks.0.weight"], "widen_blocks.0.weight"),
            ("Add", ["x", "blocks.0.weight"], ["add"], "node_add"),
            ("Mul", ["add", "blocks.0.bias"], ["y"], "node_mul"),
        ],
        {
            "w_steps": np.float32([[3, 4]]),
            "w_scales": np.float32([[0.5, 2]]),
            "blocks.0.bias": np.float32([[7, 8]]),
        },
    )
    assert shortened(model) == [
        ("k2", ["k0", "k1"], ["blocks.0.weight"]),
        ("node_add", ["x", "blocks.0.weight"], ["add"]),
        ("node_mul", ["add", "blocks.0.bias"], ["y"]),
    ]


def test_a_constant_that_an_operation_reads_keeps_its_name_though_others_are_made_of_it():
    model = model_of(
        [
            ("Add", ["k0", "inner"], ["made"], "a"),
            ("Add", ["x", "made"], ["sum"], "b"),
            ("Mul", ["sum", "k0"], ["y"], "c"),
        ],
        {"k0": np.float32([[1, 2]]), "inner": np.float32([[3, 4]])},
    )
    assert shortened(model)[0] == ("k2", ["k0", "k1"], ["made"])


def test_a_weight_that_the_quantiser_renamed_has_its_name_again():
    nodes = [
        (
            "DequantizeLinear",
            ["w_quantized", "w_scale", "w_zero_point"],
            ["w_DequantizeLinear_Output"],
            "w_DequantizeLinear",
        ),
        ("Add", ["x", "w_DequantizeLinear_Output"], ["y"], "node_add"),
    ]
    constants = {
        "w_quantized": np.int8([[5, -6]]),
        "w_scale": np.float32(0.25),
        "w_zero_point": np.int8(0),
    }
    assert shortened(model_of(nodes, constants)) == [
        ("k3", ["k0", "k1", "k2"], ["w"]),
        ("node_add", ["x", "w"], ["y"]),
    ]
    # Unless another value has it.
    constants["w"] = np.float32([[1, 1]])
    nodes[1] = ("Add", ["x", "w_DequantizeLinear_Output"], ["sum"], "node_add")
    taken = model_of([*nodes, ("Mul", ["sum", "w"], ["y"], "node_mul")], constants)
    assert shortened(taken)[0][2] == ["w_DequantizeLinear_Output"]


def test_an_output_made_of_constants_keeps_its_name():
    model = model_of(
        [("Add", ["one", "two"], ["always"], "a"), ("Add", ["x", "always"], ["y"], "b")],
        {"one": np.float32([[1, 1]]), "two": np.float32([[2, 2]])},
        outputs=("y", "always"),
    )
    assert shortened(model)[0] == ("k2", ["k0", "k1"], ["always"])
    assert [output.name for output in model.graph.output] == ["y", "always"]
