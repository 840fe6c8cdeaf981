"""`sam-export --input-size N`, and files that were trained at another size than the published."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.checkpoints.choose import choose
from exporter.checkpoints.reading import Checkpoint
from exporter.checkpoints.recognise import recognise
from exporter.checkpoints.resized import as_in_file
from exporter.cli import main
from exporter.departure import count
from exporter.host_rules import prompt_rule
from exporter.variants import load_variant, variants
from exporter.variants._sizes import resize
from runtimes import cli as sam_run
from tests.contract.test_recognise import published

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's


def trained_at(case: str, grid: int) -> Checkpoint:
    """A case's file with tables of positions for `grid` patches a side; nothing else differs."""

    def table(name: str, tensor: torch.Tensor) -> torch.Tensor:
        shape = tuple(tensor.shape)
        if name.endswith("pos_embed"):
            shape = (1, grid, grid, shape[-1])
        elif re.search(r"rel_pos_[hw]$", name) and shape[0] == 127:
            shape = (2 * grid - 1, shape[1])
        return torch.empty(shape, dtype=tensor.dtype, device="meta")

    file = published(case)
    tensors = {name: table(name, tensor) for name, tensor in file.tensors.items()}
    return dataclasses.replace(file, tensors=tensors)


@pytest.mark.parametrize("case", ["sam_vit_b", "sam_hf_vit_b", "hq_vit_b", "slimsam_50"])
@pytest.mark.parametrize("grid", [16, 32])
def test_a_file_trained_at_another_size_is_recognised_with_its_size(case, grid):
    file = trained_at(case, grid)
    sized = {variant.name: variant for variant in as_in_file(file, variants().values())}
    name = recognise(choose(file, sized.values()), sized.values())
    assert name == case.replace("_hf", "")
    assert sized[name].preprocess.size == 16 * grid
    assert sized[name].mask.low_res_size == 4 * grid


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [  # times 1e9; at 1024 they are 38.4 and 1.88, 482 and 1.88, 102 and 1.84, 143 and 1.89
        ("mobile_sam", 10.1, 0.50),
        ("sam_vit_b", 110, 0.50),
        ("efficient_sam_vitt", 11.1, 0.49),
        ("sam2_1_hiera_tiny", 30.7, 0.50),
    ],
)
def test_half_the_size_is_about_a_fourth_of_the_work(name, encoder, decoder):
    variant = resize(load_variant(name), 512)
    layout = variant.layouts[0]
    counted = count(variant, layout.name, {}, prompt_rule(variant))
    assert counted["image_encoder"] == pytest.approx(1e9 * encoder, rel=0.05)
    assert counted["mask_decoder"] == pytest.approx(1e9 * decoder, rel=0.05)


def test_the_demo_at_another_size_whole(weights, capfd, tmp_path):
    argv = ["--target", "onnx", "--precision", "fp16", "--input-size", "128", "--json"]
    argv += ["--checkpoint", str(weights), "--output", str(tmp_path)]
    assert main(argv) == 0
    answer = capfd.readouterr()
    assert re.search(
        r"demo: input 128 instead of the published 192: image_encoder 0\.\d+ G "
        r"multiply-accumulates a call, not 0\.33 \(5\d% saved\); mask_decoder ",
        answer.err,
    )
    (made,) = json.loads(answer.out)["bundles"]
    manifest = made["manifest"]
    assert Path(made["path"]).name == "demo-onnx-fp16-128"
    assert (manifest["published_size"], manifest["preprocess"]["size"]) == (192, 128)
    assert manifest["source"]["trained_size"] is None  # no tensor of a TinyViT tells
    assert manifest["mask"]["low_res_size"] == 64
    shapes = {
        tensor["name"]: tensor["shape"]
        for graph in manifest["graphs"]
        for tensor in (*graph["spec"]["inputs"], *graph["spec"]["outputs"])
    }
    assert shapes["image"] == [1, 3, 128, 128]
    assert shapes["image_embeddings"] == [1, 64, 16, 16]
    assert shapes["mask_input"] == [1, 1, 64, 64]
    assert shapes["low_res_masks"] == [1, 4, 64, 64]
    assert any(figure["graph"] == "end_to_end" for figure in manifest["parity"])

    assert sam_run.main([made["path"], "--check"]) == 0
    photo, mask = tmp_path / "photo.png", tmp_path / "mask.png"
    Image.fromarray(np.full((90, 160, 3), 40, np.uint8)).save(photo)
    argv_run = [made["path"], str(photo), "--point", "80,45", "--mask", str(mask)]
    assert sam_run.main([*argv_run, "-o", str(tmp_path / "overlay.png")]) == 0
    assert Image.open(mask).size == (160, 90)

    assert main(argv) == 0  # the same job is recognised
    assert "lowering" not in capfd.readouterr().err


def test_a_size_that_cannot_be_had_leaves_nothing(tmp_path, capfd):
    argv = ["--target", "onnx", "--input-size", "100", "--output", str(tmp_path / "out")]
    assert main(argv) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(
        "demo cannot have an input of 100 pixels: its sizes are multiples of 8 from 96 to 512, and "
        "192 is the published one"
    )
    assert not (tmp_path / "out").exists()
