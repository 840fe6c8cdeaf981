"""NanoSAM's decoder out of an ONNX file: what torch's exporter changed is undone, bit for bit."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from exporter.checkpoints.fit import load_strict
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.errors import CheckpointMismatch
from exporter.variants import DECODER_PARTS, load_variant, nanosam
from profiles.lab.bench import published
from tests.conformance import published_case
from tests.unit.small_networks import filled

NANOSAM = load_variant("nanosam_resnet18")
CASE = published_case.load("nanosam_resnet18")
encoder_file = functools.cache(CASE.checkpoint)


class Whole(nn.Module):
    """What the published module has as `model`."""

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        self.prompt_encoder, self.mask_decoder = sam.prompt_encoder, sam.mask_decoder


class ExportedForm(nn.Module):
    """The published arithmetic without branches, as `nanosam/mobile_sam/utils/onnx.py` has it."""

    def __init__(self, sam: nn.Module, *, decoder_first: bool) -> None:
        super().__init__()
        if decoder_first:  # as published; then its parameters' names begin with `mask_decoder`
            self.mask_decoder = sam.mask_decoder
        self.model = Whole(sam)

    def forward(
        self, embeddings: Tensor, coords: Tensor, labels: Tensor, mask: Tensor, has_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        encoder = self.model.prompt_encoder
        tokens = published._fourier(encoder, (coords + 0.5) / 1024)
        labels = labels.unsqueeze(-1).expand_as(tokens)
        tokens = tokens * (labels != -1)
        tokens = tokens + encoder.not_a_point_embed.weight * (labels == -1)
        for label, embedding in enumerate(encoder.point_embeddings):
            tokens = tokens + embedding.weight * (labels == label)
        dense = has_mask * published._embed_mask(encoder, mask)
        dense = dense + (1 - has_mask) * encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        ones = torch.ones((encoder.grid, encoder.grid))
        rows, cols = ((ones.cumsum(dim=axis) - 0.5) / encoder.grid for axis in (0, 1))
        position = published._fourier(encoder, torch.stack([cols, rows], dim=-1))
        position = position.permute(2, 0, 1).unsqueeze(0)
        masks, iou = published._decode(
            self.model.mask_decoder, embeddings, position, tokens, dense, ()
        )
        return iou, masks


def export(path: Path, sam: nn.Module, *, decoder_first: bool = True) -> Path:
    """As `nanosam/tools/export_sam_mask_decoder_onnx.py` calls the exporter."""
    inputs = {
        "image_embeddings": torch.zeros(1, 256, 64, 64),
        "point_coords": torch.zeros(1, 5, 2),
        "point_labels": torch.ones(1, 5),
        "mask_input": torch.zeros(1, 1, 256, 256),
        "has_mask_input": torch.ones(1),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            ExportedForm(sam, decoder_first=decoder_first).eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=["iou_predictions", "low_res_masks"],
            dynamic_axes={name: {1: "num_points"} for name in ("point_coords", "point_labels")},
            opset_version=16,
            dynamo=False,
        )
    return path


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """No two tensors alike: the exporter writes equal ones once."""
    return filled(nanosam.build(), salt="decoder")


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> Path:
    return export(tmp_path_factory.mktemp("onnx") / "mobile_sam_mask_decoder.onnx", trained)


def load(path: Path) -> nn.Module:
    return load_strict(NANOSAM, encoder_file(), read_checkpoint(path))[0]


def assert_decoder_of(found: nn.Module, trained: nn.Module) -> None:
    ours, theirs = found.state_dict(), trained.state_dict()
    names = [name for name in theirs if name.startswith(DECODER_PARTS)]
    assert len(names) > 100
    for name in names:
        assert torch.equal(ours[name], theirs[name]), name


def test_every_tensor_comes_back(exported, trained) -> None:
    assert_decoder_of(load(exported), trained)


def test_the_whole_models_names_are_read_too(trained, tmp_path) -> None:
    """Releases differ in which of the two names a shared tensor gets."""
    path = export(tmp_path / "x.onnx", trained, decoder_first=False)
    names = {tensor.name for tensor in onnx.load(path).graph.initializer}
    assert "model.mask_decoder.iou_prediction_head.layers.0.weight" in names
    assert_decoder_of(load(path), trained)


def changed(exported: Path, tmp_path: Path, change) -> Path:
    model = onnx.load(exported)
    change(model.graph)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "x.onnx"


def named(graph: onnx.GraphProto, start: str) -> TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name.startswith(start))


def replace(tensor: TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


@pytest.mark.parametrize("shape", [(5, 256), (0, 5, 256), (2, 5, 256), (1, 4, 256), (1, 5, 255)])
def test_tokens_of_another_shape_are_refused(exported, tmp_path, shape) -> None:
    def reshape(graph):
        replace(named(graph, "onnx::Expand"), np.ones(shape, np.float32))

    with pytest.raises(CheckpointMismatch):
        load(changed(exported, tmp_path, reshape))


@pytest.mark.parametrize("shape", [(7,), (1, 256, 256), (256, 255), (0, 0)])
def test_a_weight_of_another_shape_is_refused(exported, tmp_path, shape) -> None:
    def reshape(graph):
        replace(named(graph, "onnx::MatMul"), np.ones(shape, np.float32))

    with pytest.raises(CheckpointMismatch):
        load(changed(exported, tmp_path, reshape))


def test_a_constant_that_nobody_knows_is_refused(exported, tmp_path) -> None:
    def add(graph):
        graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "onnx::Div_9"))
        graph.node.append(onnx.helper.make_node("Div", ["mask_input", "onnx::Div_9"], ["odd"]))

    with pytest.raises(CheckpointMismatch, match=r"Div\.\d+\.1"):
        load(changed(exported, tmp_path, add))


def test_as_the_encoders_file_it_is_told_from_one(exported) -> None:
    second = Checkpoint(exported, "0" * 64, CASE.decoder_checkpoint().tensors)
    with pytest.raises(CheckpointMismatch, match="looks like what --decoder-checkpoint takes"):
        load_strict(NANOSAM, read_checkpoint(exported), second)
