"""The opset a file declares, and what older ones need written otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import RequestError
from exporter.targets import OPSETS
from exporter.targets.onnx._opset import lower_opset

SHAPE = (2, 6, 8)
SINGLE = 2e-6  # of the maximum: roundings of float32


def model_of(*nodes, constants=None, kind=TensorProto.FLOAT):
    """A model x -> y in the newest opset; nodes as (type, inputs, outputs, attributes)."""
    made = [
        helper.make_node(op, ins, outs, name=f"node_{op}_{i}", **attributes)
        for i, (op, ins, outs, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made,
        "tiny",
        [helper.make_tensor_value_info("x", kind, SHAPE)],
        [helper.make_tensor_value_info("y", kind, [None] * len(SHAPE))],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSETS[-1])])
    model.ir_version = 10
    return model


def run(model, x):
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def loaded_operations(model, folder):
    """What ONNX Runtime makes of a model while it loads it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "loaded.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [node.op_type for node in onnx.load(folder / "loaded.onnx").graph.node]


def copied(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0, 2, SHAPE).astype(np.float32)


RESIZE = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
    "antialias": 0,
    "keep_aspect_ratio_policy": "stretch",
}
CASES = {
    "relu": (17, 8, model_of(("Relu", ["x"], ["y"], {}))),
    "split": (17, 8, model_of(("Split", ["x"], ["y", "z"], {"axis": 1, "num_outputs": 2}))),
    "mean": (
        17,
        8,
        model_of(
            ("ReduceMean", ["x", "axes"], ["y"], {"keepdims": 1, "noop_with_empty_axes": 0}),
            constants={"axes": np.array([1], np.int64)},
        ),
    ),
    "gelu": (20, 9, model_of(("Gelu", ["x"], ["y"], {}))),
    "gelu tanh": (20, 9, model_of(("Gelu", ["x"], ["y"], {"approximate": "tanh"}))),
    "resize": (
        17,
        8,
        model_of(
            ("Resize", ["x", "", "scales"], ["y"], RESIZE),
            constants={"scales": np.array([1, 1, 2], np.float32)},
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_declares_the_lowest_opset_that_has_each_operation_as_one(name, x):
    opset, version, model = CASES[name]
    lowered = lower_opset(copied(model), None)
    assert [(o.domain, o.version) for o in lowered.opset_import] == [("", opset)]
    assert lowered.ir_version == version
    assert [n.op_type for n in lowered.graph.node] == [n.op_type for n in model.graph.node]
    np.testing.assert_array_equal(run(lowered, x), run(model, x))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", CASES)
def test_every_opset_that_is_asked_for_gives_the_same_numbers(name, opset, x):
    _, _, model = CASES[name]
    lowered = lower_opset(copied(model), opset)
    assert [(o.domain, o.version) for o in lowered.opset_import] == [("", opset)]
    expected = run(model, x)
    assert np.abs(run(lowered, x) - expected).max() <= SINGLE * np.abs(expected).max()


def test_onnx_runtime_makes_one_operation_of_an_older_gelu_again_with_the_same_bits(x, tmp_path):
    newer = model_of(("Gelu", ["x"], ["g"], {}), ("Relu", ["g"], ["y"], {}))
    older = lower_opset(copied(newer), 17)
    assert loaded_operations(older, tmp_path) == ["Gelu", "Relu"]
    np.testing.assert_array_equal(run(older, x), run(newer, x))


def test_onnx_runtime_makes_one_operation_of_an_older_gelu_by_tanh_again(tmp_path):
    newer = model_of(("Gelu", ["x"], ["g"], {"approximate": "tanh"}), ("Relu", ["g"], ["y"], {}))
    assert loaded_operations(lower_opset(newer, 17), tmp_path) == ["FastGelu", "Relu"]


def test_an_older_gelu_in_a_float16_graph_is_computed_in_float32(x):
    """A float16 one, some releases of ONNX Runtime cannot run on ARM (see `_gelu`)."""
    half = model_of(("Gelu", ["x"], ["y"], {}), kind=TensorProto.FLOAT16)
    lowered = lower_opset(half, 17)
    kinds = [node.op_type for node in lowered.graph.node]
    assert (kinds[0], kinds[-1], kinds.count("Erf")) == ("Cast", "Cast", 1)
    expected = run(model_of(("Gelu", ["x"], ["y"], {})), x)
    got = run(lowered, x.astype(np.float16))
    assert got.dtype == np.float16
    assert np.abs(got - expected).max() < 2e-3 * np.abs(expected).max()  # one float16 rounding


@pytest.mark.parametrize(
    ("node", "constants", "words"),
    [
        (("Split", ["x"], ["y", "z", "a", "b"], {"axis": 1, "num_outputs": 4}), {}, "no Split"),
        (
            ("Pad", ["x", "pads"], ["y"], {"mode": "wrap"}),
            {"pads": np.array([0, 0, 1, 0, 0, 1], np.int64)},
            "no Pad",
        ),
    ],
)
def test_an_operation_that_cannot_be_written_is_named_with_the_opsets_that_can(
    node, constants, words
):
    with pytest.raises(RequestError, match=words) as error:
        lower_opset(model_of(node, constants=constants), 17)
    assert f"node_{node[0]}_0" in str(error.value)
    assert "choose from --opset " in str(error.value)
