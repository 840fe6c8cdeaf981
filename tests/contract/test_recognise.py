"""`sam-export --checkpoint X` without `--variant`: the published files say what they are.

Names and shapes are those of the conformance cases; the tensors hold nothing.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from exporter.checkpoints.fit import decoder_owners
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.cli import main
from exporter.demo.network import WEIGHTS
from exporter.errors import CheckpointError, CheckpointMismatch
from exporter.variants import variants
from tests.conformance import published_case

JOB = ("--target", "onnx", "--precision", "fp32")
ALIASES = {
    "sam_hf_vit_b": "sam_vit_b",
    "hq_vit_b_hf": "hq_vit_b",
    "slimsam_50_hf": "slimsam_50",
    "slimsam_77_hf": "slimsam_77",
}
# Published files whose tensors have the same names and shapes.
TWINS = (
    {"mobile_sam", "tinysam"},
    {"edge_sam", "edge_sam_3x"},
    {"sam2_hiera_small", "surgical_sam2"},
    *(
        {f"efficienttam_{size}{form}" for form in ("", "_512x512", "_1", "_2")}
        for size in ("ti", "s")
    ),
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's


def published(case):
    """A case's file: its names, shapes and types, without values."""
    facts = json.loads((published_case.CASES / f"{case}.json").read_text())
    tensors = {
        name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        for name, (shape, dtype) in facts["checkpoint"]["tensors"].items()
    }
    return Checkpoint(Path(f"{case}.pt"), "0" * 64, tensors)


@pytest.mark.parametrize(
    "case",
    [*published_case.names(), *published_case.panoptic_names(), *published_case.volume_names()],
)
def test_a_published_file_is_recognised(case):
    variant = ALIASES.get(case, case)
    twins = next((group for group in TWINS if variant in group), None)
    if twins is None:
        assert recognise(published(case)) == variant
        return
    with pytest.raises(CheckpointError, match="say which it is with --variant") as caught:
        recognise(published(case))
    listed = str(caught.value).split(" fits ")[1].split(":")[0]
    assert set(re.split(r", | and ", listed)) == twins


def test_every_twin_is_a_variant():
    assert set().union(*TWINS) <= set(variants())


def without(checkpoint, name):
    tensors = {n: t for n, t in checkpoint.tensors.items() if n != name}
    return Checkpoint(checkpoint.path, checkpoint.sha256, tensors)


def test_a_file_that_none_fits_looks_like_the_nearest():
    lost = "image_encoder.blocks.3.attn.qkv.weight"
    with pytest.raises(CheckpointMismatch, match=r"this looks like sam_vit_b$") as caught:
        recognise(without(published("sam_vit_b"), lost))
    assert caught.value.missing == [lost]
    assert caught.value.unused == caught.value.misshapen == []


def test_a_decoder_that_is_published_apart_says_how_to_pass_it():
    decoder = published_case.load("mobilesam_v2_tiny_vit").decoder_checkpoint()
    with pytest.raises(
        CheckpointError, match="with --decoder-checkpoint, and the image encoder's file"
    ):
        recognise(decoder)
    owners = decoder_owners(variants().values(), decoder.tensors)
    assert set(owners) == {n for n, v in variants().items() if v.family == "mobilesam_v2"}


def test_a_video_models_unused_tensors_do_not_hide_what_it_is():
    lost = "sam_mask_decoder.iou_token.weight"
    with pytest.raises(CheckpointMismatch, match=r"looks like sam2_1_hiera_tiny$"):
        recognise(without(published("sam2_1_hiera_tiny"), lost))


def test_a_file_of_something_else_looks_like_nothing():
    tensors = {f"layer{i}.weight": torch.empty(64, 64, device="meta") for i in range(20)}
    with pytest.raises(CheckpointError, match=r"20 tensors that look like no variant.*--list"):
        recognise(Checkpoint(Path("other.pt"), "0" * 64, tensors))


@pytest.fixture
def given(monkeypatch):
    """Put a case's file in the place of what --checkpoint names; no bytes are read."""

    def use(case):
        monkeypatch.setattr(
            "exporter.checkpoints.reading.read_checkpoint", lambda path, _sha256="": published(case)
        )

    return use


def test_twins_are_listed_and_the_status_is_2(given, capfd, tmp_path):
    given("tinysam")
    argv = [*JOB, "--quiet", "--checkpoint", "tinysam.pt", "--output", str(tmp_path / "out")]
    assert main(argv) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("sam-export: error: tinysam.pt fits mobile_sam and tinysam: ")
    assert not (tmp_path / "out").exists()


def test_another_variants_file_says_whose_it_is(given, capfd, tmp_path):
    given("efficientvit_sam_l1")
    argv = [*JOB, "--quiet", "--variant", "efficientvit_sam_l0", "--checkpoint", "file.pt"]
    assert main([*argv, "--output", str(tmp_path / "out")]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "not one of efficientvit_sam_l0" in line
    assert line.endswith("this looks like efficientvit_sam_l1")


def test_a_wrong_precision_is_refused_before_the_file_is_read(monkeypatch, capfd):
    monkeypatch.setattr(
        "exporter.checkpoints.reading.read_checkpoint", lambda path: pytest.fail("read")
    )
    assert main(["--checkpoint", "huge.pt", "--precision", "int9"]) == 2
    assert "int9" in capfd.readouterr().err


@pytest.fixture
def jobs(monkeypatch):
    """The variants that would be exported."""
    seen = []
    monkeypatch.setattr(
        "exporter.pipeline.obtain",
        lambda variant, *_: seen.append(variant.name) or (None, None),
    )
    monkeypatch.setattr("exporter.pipeline.export_network", lambda *_: [])
    return seen


def test_the_one_that_fits_is_taken_and_named(jobs, capfd):
    assert main([*JOB, "--checkpoint", str(WEIGHTS)]) == 0
    assert jobs == ["demo"]
    assert f"demo fits {WEIGHTS}" in capfd.readouterr().err


def test_a_given_variant_is_not_guessed(jobs, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "exporter.checkpoints.recognise.recognise", lambda held: pytest.fail("guessed")
    )
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "tinysam.pt")
    assert main([*JOB, "--variant", "tinysam", "--checkpoint", str(tmp_path / "tinysam.pt")]) == 0
    assert jobs == ["tinysam"]


def test_without_both_the_embedded_model_is_exported(jobs, capfd):
    assert main([*JOB]) == 0
    assert jobs == ["demo"]
    assert "fits" not in capfd.readouterr().err
