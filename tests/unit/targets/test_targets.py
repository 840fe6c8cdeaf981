"""Each target on a network of a few operations: what its files declare, hold and compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError
from exporter.graphs import Graph
from exporter.models.attention import Attention
from exporter.models.layers import Normalise
from exporter.precision import load_precision
from exporter.targets import MINIMUM_IOS, Options, load_target, names
from exporter.targets.coreml import fp32 as coreml
from exporter.variants.sam import MEAN, STD
from runtimes.engines import choose_engine, run_canonical
from runtimes.engines.mil.package import load_package

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# -------------------------------------------------------------------------------- what a target is


def test_a_precision_that_a_target_has_not_is_refused_with_those_it_has():
    for name in names():
        with pytest.raises(RequestError) as error:
            load_target(name).require_precision("int2")
        known = ", ".join(load_target(name).lowers)
        assert str(error.value) == f"{name} cannot be exported in int2; choose from {known}"


def test_an_installed_toolkit_is_accepted():
    for name in names():
        for precision in load_target(name).lowers:
            load_target(name).require_precision(precision)
        assert load_target(name).missing() == []
        assert set(load_target(name).versions()) == set(load_target(name).packages)


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
    return Graph(GraphSpec(name, inputs, outputs, "image"), made, example)


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
FP32 = load_precision("fp32")


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    """(target, precision, graph name) -> folder and GraphFile, made once."""
    made = {}

    def get(target, precision, name):
        key = (target, precision, name)
        if key not in made:
            folder = tmp_path_factory.mktemp("-".join(key))
            file = load_target(target).lower(
                GRAPHS[name], load_precision(precision), folder, Options()
            )
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
        load_target(target).lower(GRAPHS[name], load_precision(precision), tmp_path, Options())
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
        file = load_target("coreml").lower(ENCODER, FP32, tmp_path / part, Options())
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
    file = load_target("coreml").lower(DECODER, load_precision("fp16"), tmp_path, options)
    assert model_of(tmp_path / file.file).specificationVersion == version
    assert load_target("coreml").platform(options, "fp16") == f"iOS {ios} or later"
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
    from exporter.targets.onnx.fp32 import _export

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
    from exporter.targets.onnx import fp32 as target

    seen = []

    def fails(graph):
        seen.append(graph.module.attention.absorbed)
        raise RuntimeError("lowering failed")

    monkeypatch.setattr(target, "_export", fails)
    with pytest.raises(RuntimeError, match="lowering failed"):
        load_target("onnx").lower(DECODER, FP32, tmp_path, Options())
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
