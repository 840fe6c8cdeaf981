"""Each target on a network of a few operations: what its files declare, hold and compute."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import RequestError
from exporter.graphs import Graph
from exporter.manifest import GraphSpec, TensorSpec
from exporter.models.layers import Normalise
from exporter.models.mask_decoder import Attention
from exporter.targets import MINIMUM_IOS, Options, coreml, load_target, names
from exporter.targets._onnx_half import to_half
from exporter.variants.sam import MEAN, PREPROCESS, STD
from runtimes.engines import choose_engine, run_canonical
from runtimes.engines.mil.package import load_package

ROOT = Path(__file__).parents[2]
SINES = frozenset({"Sin", "Cos"})
HALF = 2e-3  # of the maximum: a few float16 roundings

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# ---------------------------------------------------------------------- a float32 graph to float16


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
    model = to_half(fourier(), SINES)
    order = [node.op_type for node in model.graph.node]
    assert order == ["MatMul", "Mul", "Sin", "Cast", "Mul", "Add", "Cast"]
    types = types_of(model)
    for value in ("points", "weight", "phase", "turned", "sine", "out"):
        assert types[value] == TensorProto.FLOAT, value
    assert types["small"] == types["other"] == TensorProto.FLOAT16


def test_the_island_computes_in_float32():
    (got,) = run_onnx(to_half(fourier(), SINES), points=POINTS)
    expected = np.sin((POINTS @ WEIGHT) * np.float32(0.1)) * 0.1 + 0.3
    np.testing.assert_allclose(got, expected, atol=5e-4)
    (lost,) = run_onnx(to_half(fourier(), frozenset()), points=POINTS)
    assert np.abs(lost - expected).max() > 5e-3


def test_a_weight_of_both_sides_is_kept_twice():
    model = to_half(fourier(), SINES)
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
    half = to_half(model, SINES)
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
    half = to_half(model, SINES)
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
    half = to_half(model, SINES)
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
    half = to_half(model, SINES)
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
    half = to_half(model, SINES)
    assert list(half.graph.node[[n.op_type for n in half.graph.node].index("Mul")].input) == [
        "w_half",
        "w_half",
    ]
    y, s = run_onnx(half, x=np.array([1.0, 1.0], np.float32))
    np.testing.assert_allclose(y, [3.25, 5.0], rtol=HALF)
    np.testing.assert_allclose(s, np.sin([1.5, -2.0]), atol=1e-6)


# -------------------------------------------------------------------------------- what a target is


def test_a_precision_that_a_target_has_not_is_refused_with_those_it_has():
    for name in names():
        with pytest.raises(RequestError) as error:
            load_target(name).require("int4-weights")
        assert (
            str(error.value) == f"{name} cannot be exported in int4-weights; it can in: fp32, fp16"
        )


def test_a_missing_toolkit_is_refused_with_what_to_install():
    target = dataclasses.replace(load_target("tflite"), packages=("numpy", "no-such-toolkit"))
    with pytest.raises(RequestError) as error:
        target.require("fp16")
    assert str(error.value) == (
        "--target tflite needs no-such-toolkit: pip install 'sam-export[tflite]'"
    )


def test_an_installed_toolkit_is_accepted():
    for name in names():
        for precision in load_target(name).precisions:
            load_target(name).require(precision)
        assert set(load_target(name).versions()) == set(load_target(name).packages)


def test_only_core_ml_pads_with_whole_numbers():
    assert load_target("coreml").preprocess(PREPROCESS).pad_value == (124.0, 116.0, 104.0)
    for name in ("onnx", "tflite"):
        assert load_target(name).preprocess(PREPROCESS) == PREPROCESS
    rest = dataclasses.replace(load_target("coreml").preprocess(PREPROCESS), pad_value=MEAN)
    assert rest == PREPROCESS


# ------------------------------------------------------------------------------- two tiny networks


class TinyEncoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.normalise = Normalise(MEAN, STD)
        self.conv = torch.nn.Conv2d(3, 4, 2, 2)

    def forward(self, image):
        return torch.nn.functional.gelu(self.conv(self.normalise(image)))


class TinyDecoder(torch.nn.Module):
    """Points become sines and look at the embedding: two outputs of different shapes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("gauss", torch.randn(2, 4) / 10)
        self.attention = Attention(8, 2, 1)
        self.last = torch.nn.Linear(8, 5)

    def forward(self, image_embeddings, point_coords):
        phase = point_coords @ self.gauss
        tokens = torch.cat([phase.sin(), phase.cos()], dim=-1)
        image = image_embeddings.flatten(2).transpose(1, 2)
        image = torch.cat([image, image], dim=-1)
        seen = self.attention(tokens, image, image)
        return self.last(tokens + seen), seen.mean(dim=-1)


def tensor(name, *shape):
    return TensorSpec(name, shape, "float32", "NCHW" if len(shape) == 4 else "BNC")


def graph_of(module, name, inputs, outputs):
    torch.manual_seed(0)
    made = module().eval().requires_grad_(False)
    example = tuple(torch.zeros(t.shape) for t in inputs)
    return Graph(GraphSpec(name, inputs, outputs), made, example)


ENCODER = graph_of(
    TinyEncoder,
    "image_encoder",
    (tensor("image", 1, 3, 8, 8),),
    (tensor("image_embeddings", 1, 4, 4, 4),),
)
DECODER = graph_of(
    TinyDecoder,
    "mask_decoder",
    (tensor("image_embeddings", 1, 4, 4, 4), tensor("point_coords", 1, 3, 2)),
    (tensor("low_res_masks", 1, 3, 5), tensor("iou_predictions", 1, 3)),
)
GRAPHS = {graph.spec.name: graph for graph in (ENCODER, DECODER)}


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    """(target, precision, graph name) -> folder and GraphFile, made once."""
    made = {}

    def get(target, precision, name):
        key = (target, precision, name)
        if key not in made:
            folder = tmp_path_factory.mktemp("-".join(key))
            file = load_target(target).lower(GRAPHS[name], precision, folder, Options())
            made[key] = folder, file
        return made[key]

    return get


def canonical_inputs(graph):
    rng = np.random.default_rng(1)
    given = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in graph.spec.inputs}
    if "image" in given:
        given["image"] = rng.integers(0, 256, given["image"].shape).astype(np.float32)
    if "point_coords" in given:
        given["point_coords"] = rng.uniform(700, 1024, given["point_coords"].shape)
        given["point_coords"] = given["point_coords"].astype(np.float32)
    return given


def run_lowered(target, folder, file, given):
    session = choose_engine(target).open(folder / file.file, file, 1)
    return run_canonical(session, file.spec, given)


@pytest.mark.parity
@pytest.mark.parametrize("name", sorted(GRAPHS))
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", names())
def test_a_lowered_graph_gives_the_numbers_of_torch(lowered, target, precision, name):
    """Coordinates near 1000 too: in float16 they would have steps of half a pixel."""
    graph, given = GRAPHS[name], canonical_inputs(GRAPHS[name])
    got = run_lowered(target, *lowered(target, precision, name), given)
    expected = graph.module(*(torch.from_numpy(given[t.name]) for t in graph.spec.inputs))
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert list(got) == [t.name for t in graph.spec.outputs]
    tolerance = {"fp32": 1e-5, "fp16": 4e-3}[precision]
    for array, wanted in zip(got.values(), expected, strict=True):
        assert array.dtype == np.float32
        limit = tolerance * float(wanted.abs().max())
        np.testing.assert_allclose(array, wanted.numpy(), atol=limit, rtol=0)


@pytest.mark.parity
@pytest.mark.parametrize("target", names())
def test_a_lowered_graph_writes_one_file_and_says_its_size(lowered, target):
    for name in GRAPHS:
        folder, file = lowered(target, "fp32", name)
        assert [p.name for p in folder.iterdir()] == [file.file]
        whole = [p for p in folder.rglob("*") if p.is_file()]
        assert file.bytes == sum(p.stat().st_size for p in whole)
        assert [t.name for t in file.spec.inputs] == [t.name for t in GRAPHS[name].spec.inputs]
        assert file.spec.outputs == GRAPHS[name].spec.outputs


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", names())
def test_lowering_again_gives_the_same_bytes(lowered, tmp_path, target, precision):
    for name in GRAPHS:
        folder, _ = lowered(target, precision, name)
        load_target(target).lower(GRAPHS[name], precision, tmp_path, Options())
        for path in (p for p in folder.rglob("*") if p.is_file()):
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


# ----------------------------------------------------------------------------------------- Core ML


def model_of(package):
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString((package / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    return model


@pytest.mark.parity
def test_core_ml_packages_differ_until_they_are_made_reproducible(tmp_path, monkeypatch):
    """Why `make_reproducible` is there: without it, the same job gives other identifiers."""
    monkeypatch.setattr(coreml, "make_reproducible", lambda package: None)
    indices = []
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        file = coreml.lower(ENCODER, "fp32", tmp_path / part, Options())
        indices.append((tmp_path / part / file.file / "Manifest.json").read_bytes())
    assert indices[0] != indices[1]
    monkeypatch.undo()
    packages = [tmp_path / part / file.file for part in ("a", "b")]
    for package in packages:
        coreml.make_reproducible(package)
    first, second = (
        {p.relative_to(package): p.read_bytes() for p in package.rglob("*") if p.is_file()}
        for package in packages
    )
    assert first == second
    assert len(first) == 3  # Manifest.json, the model, the weights
    load_package(packages[0])


@pytest.mark.parity
@pytest.mark.parametrize(("ios", "version"), [(16, 7), (17, 8), (18, 9)])
def test_the_package_states_the_oldest_ios(tmp_path, ios, version):
    assert ios in MINIMUM_IOS
    options = Options(minimum_ios=ios)
    file = coreml.lower(DECODER, "fp16", tmp_path, options)
    assert model_of(tmp_path / file.file).specificationVersion == version
    assert load_target("coreml").platform(options) == f"iOS {ios} or later"
    counts = load_package(tmp_path / file.file).operation_counts
    assert counts.get("scaled_dot_product_attention", 0) == (1 if ios == 18 else 0)


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_core_ml_takes_an_rgb_image_and_float32_arrays(lowered, precision):
    from coremltools.proto import FeatureTypes_pb2

    folder, file = lowered("coreml", precision, "image_encoder")
    (image,) = model_of(folder / file.file).description.input
    assert image.name == "image"
    kind = image.type.imageType
    assert image.type.WhichOneof("Type") == "imageType"
    assert kind.colorSpace == FeatureTypes_pb2.ImageFeatureType.RGB
    assert (kind.width, kind.height) == (8, 8)
    assert (file.spec.inputs[0].dtype, file.spec.inputs[0].layout) == ("uint8", "RGB image")

    folder, file = lowered("coreml", precision, "mask_decoder")
    described = model_of(folder / file.file).description
    for given in (*described.input, *described.output):
        assert given.type.multiArrayType.dataType == FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    assert [f.name for f in described.output] == [t.name for t in DECODER.spec.outputs]


# -------------------------------------------------------------------------------------------- ONNX


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_onnx_files_tell_nothing_about_this_machine(lowered, precision, name):
    folder, file = lowered("onnx", precision, name)
    data = (folder / file.file).read_bytes()
    for trace in (b"/work", b"site-packages", bytes(ROOT), b"pkg.torch", b".py", b"forward"):
        assert trace not in data, trace
    model = onnx.load_from_string(data)
    assert not model.functions
    assert not model.metadata_props


@pytest.mark.parity
def test_the_exporters_own_onnx_would_tell():
    """Why `_strip` is there."""
    from exporter.targets.onnx import _export

    assert b"test_targets.py" in _export(ENCODER).SerializeToString()


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_onnx_uses_standard_operations_of_opset_20(lowered, precision):
    folder, file = lowered("onnx", precision, "image_encoder")
    model = onnx.load(folder / file.file)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert {node.domain for node in model.graph.node} == {""}
    assert [node.op_type for node in model.graph.node].count("Gelu") == 1


@pytest.mark.parity
def test_onnx_absorbs_while_it_lowers_and_not_after(tmp_path, monkeypatch):
    from exporter.targets import onnx as target

    seen = []

    def fails(graph):
        seen.append(graph.module.attention.absorbed)
        raise RuntimeError("lowering failed")

    monkeypatch.setattr(target, "_export", fails)
    with pytest.raises(RuntimeError, match="lowering failed"):
        target.lower(DECODER, "fp32", tmp_path, Options())
    assert seen == [True]
    assert DECODER.module.attention.absorbed is False


# ------------------------------------------------------------------------------------------ TFLite


@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_tflite_signatures_spell_the_contracts_names(lowered, precision, name):
    from ai_edge_litert.interpreter import Interpreter

    folder, file = lowered("tflite", precision, name)
    interpreter = Interpreter(str(folder / file.file))
    spec = GRAPHS[name].spec
    assert file.signature == name
    (found,) = interpreter.get_signature_list().items()
    assert found[0] == name
    assert sorted(found[1]["inputs"]) == sorted(t.name for t in spec.inputs)
    assert sorted(found[1]["outputs"]) == sorted(t.name for t in spec.outputs)
    runner = interpreter.get_signature_runner(name)
    shapes = {key: tuple(d["shape"]) for key, d in runner.get_input_details().items()}
    assert shapes == {t.name: t.shape for t in file.spec.inputs}
    shapes = {key: tuple(d["shape"]) for key, d in runner.get_output_details().items()}
    assert shapes == {t.name: t.shape for t in spec.outputs}


@pytest.mark.parity
def test_tflite_takes_the_image_channels_last(lowered):
    _, file = lowered("tflite", "fp32", "image_encoder")
    (image,) = file.spec.inputs
    assert (image.shape, image.layout) == ((1, 8, 8, 3), "NHWC")
