"""Weights stored small in an ONNX file: what they come back as, and that a session folds them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.precision import BLOCK
from exporter.targets.onnx._linear import linear_nodes
from exporter.targets.onnx._stored import (
    Weights,
    fits_blocks,
    fits_half,
    halved,
    in_4_bits,
    in_8_bits,
)

RNG = np.random.default_rng(5)


def product(weight):
    """x (2, rows) times a constant (rows, columns)."""
    rows, columns = weight.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def stored(weight, form):
    model = product(weight)
    weights = Weights(model)
    weights.replace("w", form)
    weights.finish()
    onnx.checker.check_model(model, full_check=True)
    return model


def widened(model, rows):
    """The weight as ONNX Runtime has it: the product of the identity, two rows at a time."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    identity = np.eye(rows, dtype=np.float32).reshape(-1, 2, rows)
    return np.concatenate([session.run(None, {"x": two})[0] for two in identity])


def weight(rows=2 * BLOCK, columns=6):
    return RNG.standard_normal((rows, columns), np.float32)


def test_8_bits_come_back_within_half_a_step_of_their_own_column():
    values = weight() * np.float32([1, 100, 0.01, 1, 1, 0])
    back = widened(stored(values, in_8_bits(1)), len(values))
    half_step = np.abs(values).max(axis=0) / 127 / 2
    assert (np.abs(back - values) <= half_step * 1.001 + 1e-12).all()


def test_4_bits_come_back_within_half_a_step_of_their_own_block():
    values = weight(4 * BLOCK, 6)
    values[:BLOCK] *= 50
    back = widened(stored(values, in_4_bits), len(values))
    blocks = np.abs(values.reshape(4, BLOCK, 6)).max(axis=1, keepdims=True)
    half_step = np.broadcast_to(blocks / 7 / 2, (4, BLOCK, 6)).reshape(values.shape)
    assert (np.abs(back - values) <= half_step * 1.001).all()


def test_an_odd_number_of_blocks_is_packed_too():
    values = weight(3 * BLOCK, 4)
    assert fits_blocks(values)
    back = widened(stored(values, in_4_bits), len(values))
    assert np.abs(back - values).max() < np.abs(values).max() / 7


def test_half_size_comes_back_rounded_once():
    values = weight()
    back = widened(stored(values, halved), len(values))
    np.testing.assert_array_equal(back, values.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("form", [halved, in_8_bits(1), in_4_bits])
def test_a_session_folds_what_widens(form, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    model = stored(weight(), form)
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "loaded.onnx").graph.node]
    assert kinds == ["MatMul"]


def test_the_file_holds_a_byte_or_half_a_byte_a_weight():
    values = weight(512, 256)
    sizes = [
        stored(values, form).ByteSize() / values.size for form in (halved, in_8_bits(1), in_4_bits)
    ]
    assert sizes == pytest.approx([2, 1, 0.5 + 4 / BLOCK], rel=0.05)


def test_what_half_size_cannot_hold_stays():
    assert not fits_half(np.full(1000, 1e6, np.float32))
    assert not fits_half(np.zeros(8, np.float32))
    assert fits_half(np.zeros(1000, np.float32))


def test_a_product_of_two_activations_is_no_linear_layer():
    model = product(weight())
    model.graph.node.append(helper.make_node("MatMul", ["y", "t"], ["z"], name="attention"))
    model.graph.value_info.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, [6, 2]))
    (only,) = linear_nodes(model, Weights(model))
    assert (only.node.name, only.axis, only.positions) == ("product", 1, 2)
