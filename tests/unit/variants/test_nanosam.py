"""NanoSAM's encoder: our forms keep its numbers, and its weights come out of an ONNX file."""

from __future__ import annotations

import copy
import functools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import read_checkpoint
from exporter.errors import CheckpointError
from exporter.models.efficientvit import EfficientViTSize, HalvedEfficientViT
from exporter.models.layers import freeze
from exporter.models.resnet import Doubling, NanoSamEncoder, ResNetSize
from exporter.variants import load_variant, nanosam
from tests.conformance import published_case
from tests.unit.small_networks import assert_equal, noise
from tests.unit.small_networks import filled as filled_with

SMALL = ResNetSize(image_size=128, widths=(8, 12, 16, 20), neck_width=8, out_width=8)

filled = functools.partial(filled_with, salt="nanosam")


def test_freezing_leaves_the_embedding_equal_and_no_batch_norm() -> None:
    encoder, image = filled(NanoSamEncoder(SMALL)), noise(1, 3, 128, 128)
    expected = encoder(image)
    assert expected.shape == (1, 8, 8, 8)
    assert_equal(freeze(encoder)(image), expected)
    assert not [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]


def test_doubling_is_the_published_transposed_convolution() -> None:
    ours = filled(Doubling(5, 7))
    published = nn.ConvTranspose2d(5, 7, 3, 2, 1, 1)
    published.load_state_dict(ours.state_dict())
    assert_equal(ours(noise(1, 5, 6, 6)), published(noise(1, 5, 6, 6)))


def test_the_pool_is_the_published_one() -> None:
    backbone, image = filled(NanoSamEncoder(SMALL)).backbone, noise(1, 3, 128, 128)
    first = F.relu(backbone.bn1(backbone.conv1(image)))
    expected = F.max_pool2d(first, 3, 2, 1)
    for stage in backbone.stages:
        expected = backbone.get_submodule(stage)(expected)
    assert torch.equal(backbone(image), expected)


def test_halving_is_the_published_interpolation() -> None:
    size = EfficientViTSize(64, (8, 8, 16, 32, 32), (0, 0, 0, 0, 0), neck_depth=0, head=16)
    encoder, image = HalvedEfficientViT(size), noise(1, 3, 128, 128)
    published = F.interpolate(image, (64, 64), mode="bilinear", align_corners=False)
    assert_equal(encoder.halve(image), published)


class PublishedForm(nn.Module):
    """timm's pool and torch's own doubling, where the encoder has other forms of them."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.pos_embedding, self.backbone = encoder.pos_embedding, encoder.backbone
        self.up_1, self.proj = copy.deepcopy(encoder.up_1), encoder.proj
        self.up_1[6] = nn.ConvTranspose2d(256, 256, 3, 2, 1, 1)
        self.up_1.load_state_dict(encoder.up_1.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.backbone.bn1(self.backbone.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.backbone.stages:
            x = self.backbone.get_submodule(stage)(x)
        return self.proj(self.up_1(x)) + self.pos_embedding


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, nn.Module]:
    """The network through the exporter that made the published file, called as its script does."""
    encoder = filled(NanoSamEncoder())
    path = tmp_path_factory.mktemp("onnx") / "resnet18_image_encoder.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PublishedForm(encoder).eval(),
            (torch.zeros(1, 3, 1024, 1024),),
            path,
            input_names=["image"],
            output_names=["image_embeddings"],
            opset_version=16,
            dynamo=False,
        )
    return path, encoder


def loaded(path: Path) -> nn.Module:
    second = published_case.load("nanosam_resnet18").decoder_checkpoint()
    sam, layout = load_strict(load_variant("nanosam_resnet18"), read_checkpoint(path), second)
    assert layout.name == "onnx"
    return sam.image_encoder


def assert_same_weights(found: nn.Module, trained: nn.Module) -> None:
    ours, theirs = found.state_dict(), freeze(trained).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert_equal(tensor, theirs[name])


def test_the_exporter_writes_what_the_case_lists(exported) -> None:
    """Of the numbered tensors their order: the numbers are the release's."""
    listed = published_case.load("nanosam_resnet18").facts["arch"]["published_export"]
    graph = onnx.load(exported[0]).graph
    found = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    assert _unnumbered(found) == _unnumbered(listed["encoder_initializers"])


def _unnumbered(shapes: dict[str, list[int]]) -> list[tuple[str, list[int]]]:
    return [
        (name.rstrip("0123456789"), shape) for name, shape in shapes.items() if "::" in name
    ] + [(name, shape) for name, shape in sorted(shapes.items()) if "::" not in name]


def test_the_onnx_file_gives_the_folded_weights(exported) -> None:
    assert_same_weights(loaded(exported[0]), exported[1])


@pytest.mark.parametrize("numbered", ["onnx::Conv_{}", "{}"])
def test_neither_the_exporters_numbers_nor_the_order_in_the_file_matter(
    exported, tmp_path, numbered
) -> None:
    model = onnx.load(exported[0])
    old = [t.name for t in model.graph.initializer if t.name.startswith("onnx::")]
    new = {name: numbered.format(900 - place) for place, name in enumerate(old)}
    for tensor in model.graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
    tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    assert_same_weights(loaded(tmp_path / "x.onnx"), exported[1])


def test_every_folded_layer_has_one_place() -> None:
    model = nanosam.build_folded()
    ours = {nanosam.onnx_names(f"Conv.{place}.1") for place in range(20)}
    convs = (n for n, m in model.image_encoder.named_modules() if isinstance(m, nn.Conv2d))
    assert ours == {f"image_encoder.{n}.weight" for n in convs if n.startswith("backbone.")}


def write(path: Path, *tensors: TensorProto) -> Path:
    node = helper.make_node("Conv", ["x", *(t.name for t in tensors)], ["y"])
    graph = helper.make_graph([node], "g", [], [], initializer=tensors)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


WEIGHT = numpy_helper.from_array(np.ones((2, 3), np.float32), "onnx::Conv_7")


def test_a_numbered_tensor_is_called_after_its_first_use(tmp_path) -> None:
    named = numpy_helper.from_array(np.zeros(2, np.float32), "up.bias")
    read = read_checkpoint(write(tmp_path / "x.onnx", WEIGHT, named)).tensors
    assert {name: tensor.tolist() for name, tensor in read.items()} == {
        "Conv.0.1": [[1, 1, 1], [1, 1, 1]],
        "up.bias": [0, 0],
    }


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def broken(**changes: object) -> TensorProto:
    tensor = TensorProto()
    tensor.CopyFrom(WEIGHT)
    for name, value in changes.items():
        if name == "dims":
            tensor.dims[:] = value
        else:
            setattr(tensor, name, value)
    return tensor


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([external("weights.bin")], "keeps tensor w in another file, which is not read"),
        ([external("../../etc/passwd")], "keeps tensor w in another file"),
        ([broken(dims=[2, 4])], r"Conv\.0\.1 has not the size it says"),
        ([broken(dims=[1 << 40, 1 << 40])], r"Conv\.0\.1 has not the size it says"),
        ([broken(dims=[-1, 6])], r"Conv\.0\.1 has not the size it says"),
        ([broken(raw_data=b"")], r"Conv\.0\.1 has not the size it says"),
        ([broken(data_type=TensorProto.DOUBLE)], "ONNX type 11, not float32"),
        ([broken(data_type=TensorProto.STRING)], "ONNX type 8, not float32"),
        ([broken(name="w"), broken(name="w")], "holds two tensors called w"),
        ([broken(raw_data=np.full(6, np.nan, np.float32).tobytes())], "NaN or infinite"),
        ([], "is an ONNX file without weights"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path, tensors, words) -> None:
    path = write(tmp_path / "x.onnx", *tensors)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(path)


@pytest.mark.parametrize("keep", [9, 40, -1])
def test_a_truncated_file(exported, tmp_path, keep) -> None:
    whole = exported[0].read_bytes()
    (tmp_path / "x.onnx").write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match=r"truncated or damaged|without weights"):
        read_checkpoint(tmp_path / "x.onnx")
