"""A network's tensors are found in whatever training code saved around them."""

from __future__ import annotations

import datetime
import enum

import pytest
import torch

from exporter.checkpoints.choose import choose, require_constants
from exporter.checkpoints.reading import read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.demo.network import build
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import load_variant, variants


class Kind(enum.Enum):
    """A trainer's own."""

    FINE = 1


@pytest.fixture(scope="module")
def network():
    return build().state_dict()


def chosen(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    return choose(read_checkpoint(tmp_path / "x.pt"), variants().values())


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "prefix", ["model.", "net.sam.", "_orig_mod.", "module._orig_mod.", "a.b.c."]
)
def test_a_prefix_of_any_name_is_taken_off(tmp_path, network, prefix):
    found = chosen(tmp_path, {"state_dict": under(prefix, network), "epoch": 3})
    assert recognise(found) == "demo"
    assert found.tensors.keys() == network.keys()
    for name, tensor in network.items():
        assert torch.equal(found.tensors[name], tensor)


def test_a_wrapper_around_one_part_is_taken_off(tmp_path, network):
    names = {n.replace("image_encoder.", "image_encoder._orig_mod."): t for n, t in network.items()}
    assert chosen(tmp_path, names).tensors.keys() == network.keys()


def test_training_tensors_are_left_out_and_named(tmp_path, network):
    beside = {"criterion.dice.weight": torch.ones(2), "val_iou.total": torch.tensor(1)}
    found = chosen(tmp_path, {"state_dict": {**under("model.", network), **beside}})
    assert found.tensors.keys() == network.keys()
    assert "left out what is training's: criterion.dice.weight, val_iou.total" in found.remarks


def test_another_tensor_beside_the_network_stays_an_error(tmp_path, network):
    found = chosen(tmp_path, {**network, "classifier.weight": torch.ones(2)})
    with pytest.raises(CheckpointMismatch, match=r"1 unused \(classifier\.weight\)"):
        recognise(found)
    inside = chosen(tmp_path, {**network, "mask_decoder.loss.weight": torch.ones(2)})
    with pytest.raises(CheckpointMismatch, match=r"mask_decoder\.loss"):
        recognise(inside)


def test_a_moving_average_beside_the_weights_is_named(tmp_path, network):
    average = {name: tensor * 0 for name, tensor in network.items()}
    found = chosen(tmp_path, {"net": under("m.", network), "net_ema": under("m.", average)})
    assert torch.equal(
        *(held["mask_decoder.iou_token.weight"] for held in (found.tensors, network))
    )
    assert any("net_ema too" in remark for remark in found.remarks)


def test_what_a_trainer_pickles_is_skipped_unread(tmp_path, network):
    took = datetime.timedelta(hours=3)
    found = chosen(tmp_path, {"model": network, "took": took, "kind": Kind.FINE})
    assert recognise(found) == "demo"
    assert any("took (datetime.timedelta)" in remark for remark in found.remarks)


def test_float64_is_rounded_and_said(tmp_path, network):
    double = {name: tensor.double() for name, tensor in network.items()}
    found = chosen(tmp_path, double)
    assert {tensor.dtype for tensor in found.tensors.values()} == {torch.float32}
    assert found.remarks == ("its float64 values are rounded to float32",)


def constants(mean, std):
    return {"pixel_mean": torch.tensor(mean), "pixel_std": torch.tensor(std)}


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
    ],
)
def test_constants_of_the_preparation_are_left_out(tmp_path, network, mean, std):
    found = chosen(tmp_path, {**network, **constants(mean, std)})
    require_constants(found, load_variant("demo"))
    assert found.tensors.keys() == network.keys()


def test_constants_that_differ_are_an_error(tmp_path, network):
    found = chosen(tmp_path, {**network, **constants([100.0, 100.0, 100.0], [50.0, 50.0, 50.0])})
    with pytest.raises(CheckpointError, match=r"trained with pixel_mean \[100"):
        require_constants(found, load_variant("demo"))
