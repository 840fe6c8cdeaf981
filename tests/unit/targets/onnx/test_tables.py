"""Tables that repeat their entries: what is found, the same bits back, positions shared."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.models.tiny_vit import WindowAttention
from exporter.models.vit import BlockSize, RelPosAttention
from exporter.targets.onnx._tables import find_table, store_tables

RNG = np.random.default_rng(7)


def attention_bias(heads=3, window=7):
    """TinyViT's (1, heads, window**2, window**2), by the module that makes it."""
    attention = WindowAttention(heads * 4, heads, window)
    attention.attention_biases.data.normal_()
    attention.freeze_tables()
    return attention.bias.detach().numpy()


def rows(side=14, head=16):
    """ViT's (side, head, side), by the module that makes it."""
    attention = RelPosAttention(32, BlockSize(heads=2, head=head, mlp=8, window=side), side)
    attention.rel_pos_h.data.normal_()
    attention.freeze_tables()
    return attention.rows.detach().numpy()


def sum_of(*tables):
    """x + every table, each with an output of its own."""
    outputs = [f"y{at}" for at in range(len(tables))]
    graph = helper.make_graph(
        [
            helper.make_node("Add", [f"t{at}", "x"], [name], name=name)
            for at, name in enumerate(outputs)
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, table.shape)
            for name, table in zip(outputs, tables, strict=True)
        ],
        [numpy_helper.from_array(table, f"t{at}") for at, table in enumerate(tables)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def loaded(model, tmp_path):
    """The outputs of x = 0, and the graph as a session has it."""
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {"x": np.zeros(1, np.float32)})
    return outputs, onnx.load(tmp_path / "loaded.onnx").graph


@pytest.mark.parametrize(
    ("table", "axis", "entries"), [(attention_bias(), 1, (49, 3)), (rows(), 1, (27, 16))]
)
def test_tables_of_attention_come_back_bit_by_bit(table, axis, entries, tmp_path):
    found = find_table(table)
    assert (found.axis, found.entries.shape, found.positions.dtype) == (axis, entries, np.uint8)
    model = store_tables(sum_of(table))
    assert model.ByteSize() < table.nbytes / 2
    (back,), graph = loaded(model, tmp_path)
    np.testing.assert_array_equal(back, table)
    assert [node.op_type for node in graph.node] == ["Add"]


def test_tables_of_equal_structure_share_their_positions(tmp_path):
    tables = attention_bias(), attention_bias(heads=2), attention_bias(), rows()
    model = store_tables(sum_of(*tables))
    small = [t.name for t in model.graph.initializer if t.data_type == TensorProto.UINT8]
    assert small == ["positions_0_small", "positions_1_small"]
    for table, back in zip(tables, loaded(model, tmp_path)[0], strict=True):
        np.testing.assert_array_equal(back, table)


def test_more_than_256_entries_take_two_bytes_a_position(tmp_path):
    table = RNG.standard_normal((2, 300)).astype(np.float32)[:, RNG.integers(0, 300, (1, 90, 90))]
    assert find_table(table).positions.dtype == np.uint16
    np.testing.assert_array_equal(loaded(store_tables(sum_of(table)), tmp_path)[0][0], table)


def test_zeros_of_both_signs_are_two_entries(tmp_path):
    table = np.where(RNG.random((1, 64, 64)) < 0.5, np.float32(-0.0), np.float32(0.0))
    assert find_table(table).entries.size == 2
    model = store_tables(sum_of(table))
    model.graph.node[-1].op_type = "Mul"  # 1 keeps the sign, adding 0 does not
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (back,) = session.run(None, {"x": np.ones(1, np.float32)})
    np.testing.assert_array_equal(np.signbit(back), np.signbit(table))


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(np.zeros((64, 64), np.float32), id="a matrix"),
        pytest.param(np.zeros((1, 8, 8), np.float32), id="too small to pay"),
        pytest.param(RNG.standard_normal((4, 64, 64)).astype(np.float32), id="nothing repeats"),
        pytest.param(np.arange(2.0e5, dtype=np.float32).reshape(1, 4, -1), id="long"),
    ],
)
def test_what_saves_nothing_stays(table):
    assert find_table(table) is None


def test_kernels_of_convolutions_stay():
    model = sum_of(np.zeros((8, 8, 8, 8), np.float32))
    model.graph.node.append(helper.make_node("Conv", ["image", "t0"], ["z"], name="conv"))
    before = model.SerializeToString()
    assert store_tables(model).SerializeToString() == before
