"""A network's tensors are found in whatever training code saved around them."""

from __future__ import annotations

import datetime
import enum
import tarfile
import time

import pytest
import torch

from exporter.checkpoints.choose import choose
from exporter.checkpoints.constants import check_constants
from exporter.checkpoints.reading import Checkpoint, read_checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.wanted import Wanted
from exporter.demo.network import build
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import load_variant, variants


class Kind(enum.Enum):
    """A trainer's own."""

    FINE = 1


@pytest.fixture(scope="module")
def network():
    return build().state_dict()


def chosen(tmp_path, content, **wanted):
    torch.save(content, tmp_path / "x.pt")
    return choose(read_checkpoint(tmp_path / "x.pt"), variants().values(), Wanted(**wanted))


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


TWO_SETS = {
    "lightning": lambda w, a: {"net": under("m.", w), "net_ema": under("m.", a)},
    "timm": lambda w, a: {"state_dict": w, "state_dict_ema": a, "arch": "x", "epoch": 3},
    "ema_pytorch": lambda w, a: {
        **under("online_model.", w),
        **under("ema_model.", a),
        "initted": torch.tensor(1),
        "step": torch.tensor(9),
    },
    "distilled": lambda w, a: {"student": w, "ema_teacher": a},
}


@pytest.mark.parametrize("kind", TWO_SETS)
def test_of_weights_and_their_moving_average_the_user_chooses(tmp_path, network, kind):
    zeros = {name: tensor * 0 for name, tensor in network.items()}
    content = TWO_SETS[kind](network, zeros)
    with pytest.raises(
        CheckpointError, match=r"2 sets .*: say which with --tensors NAME"
    ) as caught:
        chosen(tmp_path, content)
    listed = str(caught.value).split(" fit, ")[1].split(":")[0].split(" and ")
    for given in (*listed, "ema"):
        found = chosen(tmp_path, content, tensors=given)
        assert recognise(found) == "demo"
        average = not found.tensors["mask_decoder.iou_token.weight"].any()
        assert average == ("ema" in given)
    with pytest.raises(CheckpointError, match="holds no tensors called swa that fit; its sets: "):
        chosen(tmp_path, content, tensors="swa")


def test_one_set_under_two_names_is_one(tmp_path, network):
    assert recognise(chosen(tmp_path, {"model": network, "state_dict": network})) == "demo"


def test_what_was_done_is_recorded(tmp_path, network):
    beside = {"criterion.w": torch.ones(2), "head.w": torch.ones(2), "head.b": torch.ones(2)}
    held = {"state_dict": {**under("module.net._orig_mod.", network), **beside}}
    with pytest.raises(CheckpointMismatch):
        recognise(chosen(tmp_path, held))
    taken = chosen(tmp_path, held, ignore=("head.*",)).taken
    assert (taken.place, taken.prefix) == ("state_dict", "module.net._orig_mod.")
    assert taken.left_out == ("criterion.w", "head.b", "head.w")
    assert (taken.left_out_count, taken.ignored, taken.rounded) == (3, ("head.*",), ())


def test_a_long_list_of_what_is_left_out_is_cut(tmp_path, network):
    beside = {f"loss.{i}": torch.ones(1) for i in range(150)}
    taken = chosen(tmp_path, {**network, **beside}).taken
    assert (len(taken.left_out), taken.left_out_count) == (100, 150)


def test_a_pattern_that_names_nothing_is_an_error(tmp_path, network):
    with pytest.raises(CheckpointError, match=r"--ignore heads\.\* names no tensor of .*x\.pt"):
        chosen(tmp_path, network, ignore=("heads.*",))


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("classifier.weight", r"--ignore 'classifier\.\*'$"),
        ("mask_decoder.extra.weight", r"--ignore 'mask_decoder\.extra\.\*'$"),
        ("temperature", r"--ignore 'temperature'$"),
    ],
)
def test_the_error_names_the_option_that_would_settle_it(tmp_path, network, name, option):
    held = {**network, name: torch.ones(2)}
    with pytest.raises(CheckpointMismatch, match=rf"1 unused .*; this looks like demo; .*{option}"):
        recognise(chosen(tmp_path, held))
    pattern = option.split("'")[1].replace("\\", "")
    assert recognise(chosen(tmp_path, held, ignore=(pattern,))) == "demo"


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
    ],
)
def test_constants_of_the_preparation_are_left_out(tmp_path, network, mean, std):
    found = chosen(tmp_path, {**network, **constants(mean, std)})
    assert not list(check_constants(found, load_variant("demo")))
    assert found.tensors.keys() == network.keys()


def test_constants_that_do_nothing_are_warned_of(tmp_path, network):
    found = chosen(tmp_path, {**network, **constants([0.0] * 3, [1.0] * 3)})
    warned = list(check_constants(found, load_variant("demo")))
    assert [line.split(";")[0] for line in warned] == [
        "pixel_mean is 0 in the file",
        "pixel_std is 1 in the file",
    ]


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([100.0, 100.0, 100.0], [50.0, 50.0, 50.0]),
        ([123.675, 116.28, 90.0], [58.395, 57.12, 57.375]),
        ([123.675], [58.395]),
    ],
)
def test_constants_that_differ_are_an_error(tmp_path, network, mean, std):
    found = chosen(tmp_path, {**network, **constants(mean, std)})
    with pytest.raises(CheckpointError, match=r"trained with pixel_(mean|std) \["):
        list(check_constants(found, load_variant("demo")))


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"\x1f\x8b\x08", "gzip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"BZh9", "bzip2")],
)
def test_what_a_checkpoint_is_packed_in_is_named(tmp_path, head, kind):
    (tmp_path / "x.pth").write_bytes(head + bytes(600))
    with pytest.raises(CheckpointError, match=f"{kind}.*unpack it and give the checkpoint"):
        read_checkpoint(tmp_path / "x.pth")
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        packed.add(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"is a tar archive around .*x\.pth: unpack"):
        read_checkpoint(tmp_path / "x.tar")


def test_recognition_of_a_file_with_many_tensors_is_quick(tmp_path):
    names = (f"a{i % 7}.b{i % 5}.c{i % 3}.d{i}.weight" for i in range(30_000))
    found = Checkpoint(tmp_path / "x", "", {name: torch.ones(1) for name in names})
    choose(found, variants().values())  # builds the variants' tables once
    start = time.process_time()
    assert choose(found, variants().values()).tensors == found.tensors
    assert time.process_time() - start < 3  # a second, on a machine that does other work too
