"""8-bit ONNX: what ONNX Runtime makes of the groups that are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exporter.calibration import Range
from exporter.targets.onnx._linear import linear_nodes
from exporter.targets.onnx._stored import Weights
from exporter.targets.onnx.int8 import keep_biases_apart, quantise, rounded, without_flat_ends

RNG = np.random.default_rng(3)
WIDTH = 16
WEIGHT = RNG.standard_normal((WIDTH, WIDTH), np.float32)
BIAS = RNG.standard_normal(WIDTH, np.float32)
X = RNG.uniform(-1, 1, (2, 8, WIDTH)).astype(np.float32)


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def linear(shape=X.shape, more=()):
    """x @ w + b, and what else reads it."""
    nodes = [("MatMul", ["x", "w"], ["xw"]), ("Add", ["xw", "b"], ["y"]), *more]
    graph = helper.make_graph(
        [helper.make_node(*node, name=f"node_{at}") for at, node in enumerate(nodes)],
        "tiny",
        [floats("x", shape)],
        [floats(nodes[-1][2][0], None), floats("y", shape)][: 1 + bool(more)],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(BIAS, "b")],
        value_info=[floats("xw", shape), floats("y", shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def in_8_bits(model):
    chosen = list(linear_nodes(model, Weights(model)))
    keep_biases_apart(model, chosen)
    assert rounded(chosen) == ["x"]
    return quantise(model, chosen, {"x": Range(-1, 1)})


def run(model, tmp_path, x=X):
    """Outputs, and the operations that a session has."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"x": x})
    return found, [node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node]


def saturates() -> bool:
    """Whether ONNX Runtime adds pairs of products in 16 bits here: x86 without VNNI."""
    known = Path("/proc/cpuinfo")
    words = known.read_text().split() if known.is_file() else []
    return "avx2" in words and not {"avx512_vnni", "avx_vnni"} & set(words)


def saturated(model, x):
    """What such a processor makes of it: sums of neighbouring pairs end at 32,767."""
    held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    weight, scale = held["w_quantized"].astype(int), held["x_scale"] * held["w_scale"]
    bytes_ = np.clip(np.rint(x / held["x_scale"]) + 128, 0, 255).astype(int)
    products = bytes_[..., None] * weight
    pairs = np.clip(products[..., 0::2, :] + products[..., 1::2, :], -(2**15), 2**15 - 1)
    return (pairs.sum(-2) - 128 * weight.sum(0)) * scale + BIAS


@pytest.mark.parametrize("shape", [X.shape, (2, 2, 4, WIDTH)])
def test_a_linear_layer_is_an_integer_product_with_a_float_output(shape, tmp_path):
    model = in_8_bits(linear(shape))
    (got,), kinds = run(model, tmp_path, X.reshape(shape))
    assert kinds == ["QuantizeLinear", "MatMulIntegerToFloat", "Add"]
    if saturates():  # its sums are wrong, but no others than those
        np.testing.assert_allclose(got, saturated(model, X.reshape(shape)), atol=1e-4)
        return
    expected = X.reshape(shape) @ WEIGHT + BIAS
    # Half a step of each of WIDTH inputs and weights, of random sign.
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_what_is_written_is_in_order_and_standard():
    model = in_8_bits(linear())
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}


def test_a_bias_that_others_read_stays_a_vector(tmp_path):
    model = linear(more=[("Gather", ["b", "first"], ["z"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    (z, y), _ = run(in_8_bits(model), tmp_path)
    assert z == BIAS[0]
    assert y.shape == X.shape


def test_what_gelu_flattens_has_no_steps():
    model = linear(more=[("Gelu", ["y"], ["z"])])
    given = {"xw": Range(-9, 3), "y": Range(-9, 3)}
    cut = without_flat_ends(model, given)
    assert cut == {"xw": Range(-9, 3), "y": Range(-4, 3)}
    low = float(torch.nn.functional.gelu(torch.tensor(-4.0)))
    assert -1.3e-4 < low < 0
    above, below = {"y": Range(-1, 3)}, {"y": Range(-9, -5)}
    assert without_flat_ends(model, above) == above
    assert without_flat_ends(model, below) == below


def test_a_value_that_others_read_keeps_its_whole_range():
    model = linear(more=[("Gelu", ["y"], ["z"]), ("Add", ["y", "z"], ["s"])])
    given = {"y": Range(-9, 3)}
    assert without_flat_ends(model, given) == given
