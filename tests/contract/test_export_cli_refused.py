"""What `sam-export` refuses before it lowers anything: wrong requests and bad checkpoints."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from exporter.demo.network import WEIGHTS
from exporter.targets import load_target
from exporter.variants import variants
from exporter.variants._aliases import KNOWN
from tests.contract.demo_exports import JOB

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


# ---------------------------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MobileSAM", "mobile_sam"),
        ("mobile-sam", "mobile_sam"),
        ("vit_b", "sam_vit_b"),
        ("vit_t", "mobile_sam"),
        ("SAM-B", "sam_vit_b"),
        ("sam_b.pt", "sam_vit_b"),
        ("sam2.1_hiera_tiny", "sam2_1_hiera_tiny"),
        ("sam2.1_hiera_b+", "sam2_1_hiera_base_plus"),
        ("facebook/sam2-hiera-tiny", "sam2_hiera_tiny"),
        ("facebook/sam-vit-huge", "sam_vit_h"),
        ("Zigeng/SlimSAM-uniform-77", "slimsam_77"),
        ("FastSAM-s.pt", "fastsam_s"),
        ("weights/sam_hq_vit_tiny.pth", "light_hq"),
        ("edgesamm", "edge_sam"),
        ("efficientsam-ti", "efficient_sam_vitt"),
        ("EfficientSAM-S", "efficient_sam_vits"),
        ("xl1", "efficientvit_sam_xl1"),
        ("hq-sam", "hq_vit_h"),
        ("l0", "efficientvit_sam_l0"),
    ],
)
def test_an_unknown_variant_is_told_which_was_meant(refused, tmp_path, name, meant):
    line = refused("--variant", name, "--output", tmp_path / "out")
    said = f"unknown variant '{name}'; did you mean {meant}? sam-export --list shows every one"
    assert line == said
    assert not (tmp_path / "out").exists()


def test_every_alias_is_of_a_variant():
    assert set(KNOWN.values()) <= set(variants())


def test_a_name_like_none_is_told_where_all_are(refused):
    for name in ("xyzzy", "sam4"):
        assert refused("--variant", name) == (
            f"unknown variant '{name}'; sam-export --list shows every one"
        )


def test_an_unknown_precision_lists_those_there_are(refused):
    assert "fp16, fp32" in refused("--precision", "fp17x")
    assert "bfloat16 is not fp16, and no format here" in refused("--precision", "bf16")
    assert "did you mean int8?" in refused("--precision", "8bit")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--target", "tensorrt"], ["target", "tensorrt", "coreml", "onnx", "tflite"]),
        (["--target", "ios"], ["unknown target 'ios'; did you mean coreml?"]),
        (["--target", "onnx,android"], ["'android'; did you mean tflite?"]),
        (["--target", "coreml", "--target", "onx"], ["'onx'; did you mean onnx?"]),
        (["--precision", "half"], ["unknown precision 'half'; did you mean fp16?"]),
        (["--precision", "float32"], ["did you mean fp32?"]),
        (["--score", "iou"], ["--score", "did you mean iou_predictions?"]),
        (["--precison", "fp16"], ["--precison fp16; did you mean --precision?"]),
        (["--force", "--force"], ["--force", "was given twice"]),
        (["--batch", "9" * 5000], ["--batch", "from 1 to 64"]),
        (["--max-points", "1"], ["--max-points", "from 2 to 64", "'1'"]),
        (["--max-points", "999"], ["--max-points", "from 2 to 64", "'999'"]),
        (["--max-points", "many"], ["--max-points", "from 2 to 64", "'many'"]),
        (["--batch", "0"], ["--batch", "from 1 to 64", "'0'"]),
        (["--minimum-ios", "15"], ["--minimum-ios", "15", "16"]),
        (["--image-input", "bytes"], ["--image-input", "bytes", "image", "tensor"]),
        (["--colour", "red"], ["--colour"]),
        (["--list", "--variant", "demo"], ["--list takes no --variant: it exports nothing"]),
        (["--manifest-schema", "--list"], ["--list takes no --manifest-schema"]),
        (["--manifest-schema", "--force"], ["--manifest-schema takes no --force"]),
        *([[option, ""], [option, "is empty"]] for option in ("--variant", "--checkpoint")),
        *([[f"{option}="], [option, "is empty"]] for option in ("--output", "--sign")),
    ],
)
def test_arguments_that_cannot_be_are_refused(refused, argv, words):
    line = refused(*argv)
    for word in words:
        assert word in line


def test_a_target_without_its_toolkit_says_what_to_install(refused, monkeypatch, weights):
    target = dataclasses.replace(load_target("onnx"), packages=("torch", "no-such-toolkit"))
    monkeypatch.setattr("exporter.job.load_target", lambda name: target)
    line = refused(*JOB, "--checkpoint", weights)
    assert line == "--target onnx needs no-such-toolkit: pip install 'sam-export[onnx]'"


def test_a_score_that_nobody_published_is_refused(refused, tmp_path):
    line = refused("--variant", "tinysam", "--score", "stability", "--output", tmp_path)
    assert line.startswith("tinysam cannot rank masks by stability: its published code does not")
    assert "edge_sam, " in line
    assert not any(tmp_path.iterdir())


def test_more_slots_than_the_variant_reads_are_refused(refused, tmp_path):
    asked = ("--variant", "fastsam_s", "--max-points", "9", "--output", tmp_path)
    reason = "fastsam_s has no prompt slots: leave out --batch and --max-points"
    assert refused(*asked) == reason
    asked = ("--variant", "efficient_sam_vitt", "--max-points", "7", "--output", tmp_path)
    assert refused(*asked) == "efficient_sam_vitt reads 6 prompts at most: --max-points 6"
    assert not any(tmp_path.iterdir())


def test_an_output_that_cannot_be_written(quick, refused, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refused(*quick, "--output", tmp_path / "file" / "bundles")
    assert str(tmp_path / "file") in line
    assert "--output" in line


# --------------------------------------------------------------------------------- bad checkpoints


@pytest.fixture
def checkpoint_refused(refused, tmp_path):
    def call(path, *argv):
        line = refused(*JOB, "--checkpoint", path, "--output", tmp_path / "out", *argv)
        assert not (tmp_path / "out").exists()
        return line

    return call


def test_a_missing_checkpoint(checkpoint_refused, tmp_path):
    assert str(tmp_path / "none.pt") in checkpoint_refused(tmp_path / "none.pt")
    line = checkpoint_refused("https://example.com/a.pt")
    assert line.endswith("an address, not a path: download https://example.com/a.pt first")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_truncated_checkpoint(checkpoint_refused, tmp_path, suffix):
    whole, path = tmp_path / "whole", tmp_path / f"cut.{suffix}"
    if suffix == "pt":
        torch.save(load_file(WEIGHTS), whole)
    else:
        shutil.copy(WEIGHTS, whole)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert str(path) in checkpoint_refused(path)


def test_a_checkpoint_of_another_variant_says_which(checkpoint_refused, weights):
    line = checkpoint_refused(weights, "--variant", "mobile_sam")
    assert "not one of mobile_sam" in line
    assert "this looks like demo" in line


def test_a_strange_checkpoint_lists_what_is_missing_and_unused(checkpoint_refused, tmp_path):
    state = load_file(WEIGHTS)
    state.pop("mask_decoder.iou_token.weight")
    state["surprise"] = torch.zeros(3)
    state["mask_decoder.mask_tokens.weight"] = torch.zeros(5, 64)
    path = tmp_path / "strange.safetensors"
    save_file(state, path)
    line = checkpoint_refused(path)
    assert "1 missing (mask_decoder.iou_token.weight)" in line
    assert "1 unused (surprise)" in line
    assert "mask_decoder.mask_tokens.weight (5, 64) should be (4, 64)" in line


class Touch:
    """A pickle of it runs a shell command when it is read carelessly."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_nothing_in_a_pickle_is_executed(checkpoint_refused, tmp_path, form):
    marker, path = tmp_path / "marker", tmp_path / "evil.pt"
    state = {"weight": torch.zeros(2), "more": Touch(marker)}
    if form == "plain":
        path.write_bytes(pickle.dumps({"more": Touch(marker)}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    line = checkpoint_refused(path)
    assert not marker.exists()
    assert "evil.pt" in line
    with path.open("rb") as stream:  # the file is as bad as it is meant to be
        if form == "plain":
            pickle.load(stream)
        else:
            torch.load(stream, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(checkpoint_refused, tmp_path, value):
    state = load_file(WEIGHTS)
    state["image_encoder.neck.1.weight"][0] = value
    path = tmp_path / "nan.safetensors"
    save_file(state, path)
    line = checkpoint_refused(path)
    assert "image_encoder.neck.1.weight" in line
    assert "NaN" in line
