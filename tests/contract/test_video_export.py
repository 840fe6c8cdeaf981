"""`sam-export --video`: a bundle of five graphs, its rule, and what is refused.

The embedded demo has every part of a memory, trained, and lowers in seconds.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import Manifest
from exporter.calibration import Pictures
from exporter.cli import main
from exporter.graphs import graphs_of
from exporter.host_rules import prompt_rule
from exporter.models.layers import freeze
from exporter.precision import load_precision
from exporter.targets import Options, load_target
from exporter.variants import load_variant
from exporter.variants._sizes import resize
from exporter.variants._video import video_name, with_memory
from profiles.lab.bench.operations import count_tflite
from runtimes.cli import main as sam_run

VARIANT, FEWER = "demo", "efficienttam_ti_512x512"
GRAPHS = ["image_encoder", "mask_decoder", "memory_encoder", "memory_query", "memory_attention"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with its memory; it certifies."""
    folder = tmp_path_factory.mktemp("video")
    argv = ["--variant", VARIANT, "--video", "--precision", "fp32", "--target", "onnx"]
    assert main([*argv, "--quiet", "--output", str(folder / "bundles")]) == 0
    return folder / "bundles" / f"{VARIANT}-video-onnx-fp32"


@pytest.mark.parity
def test_a_video_bundle_says_what_its_host_needs(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert [graph.spec.name for graph in manifest.graphs] == GRAPHS
    rule = manifest.video
    assert rule is not None
    assert (rule.memory_slots, rule.memory_frames, rule.grid) == (3, 2, 24)
    assert (rule.pointer_slots, rule.memory_width, rule.departure) == (8, 32, "")
    assert manifest.preprocess.interpolation == "pillow_bilinear"
    assert manifest.source.decoder_checkpoint == "memory.safetensors"
    with np.load(bundle / rule.host_data) as data:
        shapes = {name: data[name].shape for name in data.files}
    assert shapes == {
        "no_object_pointer": (64,),
        "no_memory_embedding": (64,),
        "mask_downsample_weight": (1, 1, 4, 4),
        "mask_downsample_bias": (1,),
    }
    assert rule.host_data in manifest.files
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parity
def test_the_image_encoder_is_the_image_bundles(bundle: Path, exports) -> None:
    plain = exports.bundle("onnx", "fp32").path / "image_encoder.onnx"
    assert (bundle / plain.name).read_bytes() == plain.read_bytes()


@pytest.mark.parity
def test_figures_say_that_memory_matters(bundle: Path) -> None:
    figures = open_bundle(bundle).manifest.parity
    found = {(f.graph, f.measure): f.value for f in figures if f.floor is not None}
    assert found["memory_attention", "memory_sensitivity"] > 0.99
    assert found["memory_attention", "empty_slots"] == 0
    assert found["video", "memory_sensitivity"] > 0.99
    assert found["video", "last_mask_iou"] > 0.999
    assert found["memory_encoder", "psnr_db"] > 120


@pytest.mark.parity
def test_check_notices_a_decoder_of_another_network(bundle: Path, tmp_path, capsys) -> None:
    path = bundle
    assert sam_run([str(path), "--check"]) == 0
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    assert any(f["graph"] == "video" for f in manifest["parity"])
    (copy / "memory_attention.onnx").write_bytes((path / "memory_query.onnx").read_bytes())
    assert sam_run([str(copy), "--check"]) != 0
    assert "memory_attention.onnx" in capsys.readouterr().err


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["efficienttam_ti_512x512", "efficienttam_ti_1", "edgetam"])
def test_memory_attention_is_one_partition(kind: str, tmp_path: Path) -> None:
    """At a grid of 8, but in more chunks than XNNPACK joins."""
    variant = resize(with_memory(load_variant(kind)), 128)
    network = freeze(variant.layouts[0].build())
    graphs = {graph.spec.name: graph for graph in graphs_of(network, variant, prompt_rule(variant))}
    lower = load_target("tflite").lower
    with patch("exporter.models.memory_attention.MOST_ROWS", 8):
        file = lower(
            graphs["memory_attention"], load_precision("fp32"), tmp_path, Options(), Pictures(),
            frozenset(),
        )  # fmt: skip
    counted = count_tflite(tmp_path / file.file)
    assert (counted.partitions, counted.outside) == (1, {})
    assert counted.max_rank <= 4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--variant", "mobile_sam", "--video"], "mobile_sam has no memory"),
        (["--variant", FEWER, "--memory-slots", "3"], "--memory-slots is of --video"),
        (["--variant", FEWER, "--video", "--batch", "2"], "leave out --batch"),
        (
            ["--variant", FEWER, "--video", "--memory-slots", "9", "--pointer-slots", "2"],
            "9 memory slots have room for 3 prompted frames: --pointer-slots is 3 to 18, not 2",
        ),
    ],
)
def test_what_cannot_be_a_video_bundle_is_refused(argv, words, tmp_path, capsys) -> None:
    assert main([*argv, "--target", "onnx", "--output", str(tmp_path / "none")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_slots_follow_the_published_code() -> None:
    """Seven memories and sixteen pointers; Surgical SAM 2 prunes to six; more are for prompts."""
    rules = {name: with_memory(load_variant(name)).video for name in ("edgetam", "surgical_sam2")}
    edge, surgical = rules["edgetam"], rules["surgical_sam2"]
    assert (edge.memory_slots, edge.pointer_slots, edge.memory_tokens) == (7, 16, 512)
    assert (surgical.memory_slots, surgical.memory_frames, surgical.grid) == (6, 6, 32)
    assert surgical.pruning is not None
    more = with_memory(load_variant("edgetam"), 9)
    assert (more.video.prompted_slots, more.video.pointer_slots) == (3, 18)
    assert more.video.departure == ""
    assert video_name(more) == "video-9-memories-18-pointers"
    few = with_memory(load_variant(FEWER), 3)
    assert few.video.departure.startswith("3 memory slots where the published code has 7")
    assert (few.video.memory_frames, video_name(few)) == (2, "video-3-memories")
    assert few.preprocess.interpolation == "pillow_bicubic"
    one = with_memory(load_variant("efficienttam_ti_1"), 1)
    assert not one.video.pooled
    assert "memory_attention_first" not in one.prompting.graphs
    small = resize(with_memory(load_variant("efficienttam_ti_1")), 512)
    assert (small.video.grid, small.video.memory_tokens) == (32, 1024)
