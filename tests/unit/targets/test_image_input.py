"""`image` in Core ML: bytes whose padding the graph writes, or floats on request."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.errors import RequestError
from exporter.graphs import graph_of
from exporter.graphs.image_encoder import ImageEncoder, as_padded
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants.sam import MEAN, PREPROCESS, STD
from runtimes.engines import choose_engine, run_canonical

SIDE = 1024  # float16 has to hold every whole number up to it
TENSOR = Options(image_input="tensor")
PADDED = dataclasses.replace(PREPROCESS, size=SIDE, padded_by="graph")
SIZES = [(1024, 1024), (1024, 1), (1, 1024), (1024, 767), (641, 1024), (1023, 1024)]

filtered = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# -------------------------------------------------------------------------------------- the rules


def test_only_core_mls_graph_writes_a_padding_that_bytes_cannot_hold():
    padded = load_target("coreml").preprocess(PREPROCESS, Options())
    assert padded == dataclasses.replace(PREPROCESS, padded_by="graph")
    assert load_target("coreml").preprocess(PREPROCESS, TENSOR) == PREPROCESS
    for name, options in itertools.product(("onnx", "tflite"), (Options(), TENSOR)):
        assert load_target(name).preprocess(PREPROCESS, options) == PREPROCESS


@pytest.mark.parametrize(
    ("change", "interpolation"),
    [
        ({"resize": "letterbox", "pad_value": (114.0,) * 3}, "pillow_bilinear"),
        ({"pad_value": (0.0,) * 3}, "pillow_bilinear"),
        ({"resize": "stretch"}, "pillow_bilinear"),
        ({"resize": "stretch", "interpolation": "float_bilinear"}, "pillow_bilinear"),
        ({"resize": "stretch", "interpolation": "float_bilinear_plain"}, "bilinear_plain"),
    ],
)
def test_the_host_pads_if_bytes_hold_the_colour_or_there_is_no_padding(change, interpolation):
    rule = dataclasses.replace(PREPROCESS, **change)
    expected = dataclasses.replace(rule, interpolation=interpolation)
    assert load_target("coreml").preprocess(rule, Options()) == expected
    assert load_target("coreml").preprocess(rule, TENSOR) == rule


@pytest.mark.parametrize(
    "change", [{"resize": "letterbox"}, {"pad_value": (114.5, 114.5, 114.5)}], ids=str
)
def test_a_padding_that_neither_bytes_nor_a_graph_can_write_is_refused(change):
    rule = dataclasses.replace(PREPROCESS, **change)
    with pytest.raises(RequestError, match="give --image-input tensor"):
        load_target("coreml").preprocess(rule, Options())
    assert load_target("coreml").preprocess(rule, TENSOR) == rule


# -------------------------------------------------------------------------------------- the graph


def plain():
    """An encoder that shows each pixel of its input, normalised."""
    spec = GraphSpec(
        "image_encoder",
        (TensorSpec("image", (1, 3, SIDE, SIDE), "float32", "NCHW"),),
        (TensorSpec("image_embeddings", (1, 3, SIDE, SIDE), "float32", "NCHW"),),
        "image",
    )
    return graph_of(spec, ImageEncoder(Doubled(), MEAN, STD))


class Doubled(torch.nn.Module):
    """Exact in float16 too."""

    def forward(self, image):
        return image * 2


def pixels():
    return np.random.default_rng(3).integers(0, 256, (1, 3, SIDE, SIDE)).astype(np.float32)


def test_a_graph_keeps_its_form_if_the_host_pads_or_it_takes_no_image():
    graph = plain()
    assert as_padded(graph, PREPROCESS) is graph
    inputs = (TensorSpec("image_embeddings", (1, 3, 4, 4), "float32", "NCHW"),)
    spec = dataclasses.replace(graph.spec, inputs=inputs)
    decoder = dataclasses.replace(graph, spec=spec)
    assert as_padded(decoder, PADDED) is decoder


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_graph_keeps_the_picture_and_clears_the_rest(size):
    image, (width, height) = torch.from_numpy(pixels()), size
    found = as_padded(plain(), PADDED).module(image, torch.tensor([size]).float())
    expected = plain().module(image)
    assert torch.equal(found[..., :height, :width], expected[..., :height, :width])
    assert not found[..., height:, :].any()
    assert not found[..., width:].any()


@filtered
@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_package_does_so_to_the_pixel(tmp_path, precision):
    target, graph = load_target("coreml"), as_padded(plain(), PADDED)
    file = target.lower(graph, load_precision(precision), tmp_path, Options())
    assert [(t.name, t.shape, t.dtype, t.layout) for t in file.spec.inputs] == [
        ("image", (1, 3, SIDE, SIDE), "uint8", "RGB image"),
        ("resized_size", (1, 2), "float32", "B2"),
    ]
    session = choose_engine("coreml").open(tmp_path / file.file, file, 1)

    def run(size):
        given = {"image": pixels(), "resized_size": np.array([size], np.float32)}
        return run_canonical(session, file.spec, given)["image_embeddings"]

    full = run((SIDE, SIDE))
    for width, height in SIZES:
        expected = np.zeros_like(full)
        expected[..., :height, :width] = full[..., :height, :width]
        np.testing.assert_array_equal(run((width, height)), expected)


@filtered
@pytest.mark.parity
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_float_image_keeps_its_fractions(tmp_path, precision):
    from coremltools.proto import FeatureTypes_pb2, Model_pb2

    graph = plain()
    file = load_target("coreml").lower(graph, load_precision(precision), tmp_path, TENSOR)
    assert file.spec == graph.spec
    model = Model_pb2.Model()
    stored = tmp_path / file.file / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model.ParseFromString(stored.read_bytes())
    (image,) = model.description.input
    assert image.type.multiArrayType.dataType == FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    session = choose_engine("coreml").open(tmp_path / file.file, file, 1)
    given = pixels() + np.float32(0.5)
    found = run_canonical(session, file.spec, {"image": given})["image_embeddings"]
    expected = graph.module(torch.from_numpy(given)).numpy()
    # Half a pixel is 0.017 in the output; float16 rounds four times near 4.4.
    limit = {"fp32": 2e-6, "fp16": 6e-3}[precision]
    np.testing.assert_allclose(found, expected, atol=limit, rtol=0)
