"""Real exports as rows of the matrix: the smallest variant there is."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from exporter.goldens import SEED
from exporter.progress import silent
from exporter.scenes.scene import scene
from exporter.targets import load_target
from exporter.variants import Published, load_variant
from profiles.lab import steps
from profiles.lab.matrix import __main__ as matrix
from profiles.lab.matrix import counts, measure
from profiles.lab.matrix.fill import fill
from profiles.lab.matrix.goals import misses
from profiles.lab.matrix.jobs import FILLED, MatrixJob
from profiles.lab.matrix.recordings import FEW

DEMO = load_variant("demo")

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),  # the toolkits': torch versions, deprecations
]


def test_one_export_becomes_a_row_that_meets_its_goals(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "results")
    argv = ["--only", "demo", "--target", "tflite", "--precision", "fp16", "--write"]
    assert matrix.main([*argv, "--folder", str(tmp_path / "work")]) == 0
    (row,) = json.loads((tmp_path / "results" / "matrix.json").read_text())["rows"]
    assert "error" not in row, row
    encoder, decoder = row["graphs"]
    assert [g["spec"]["name"] for g in (encoder, decoder)] == ["image_encoder", "mask_decoder"]
    assert encoder["multiply_accumulates"] > decoder["multiply_accumulates"] > 1e7
    assert encoder["facts"]["operations"]["CONV_2D"] > 0
    assert encoder["facts"]["partitions"] == 1
    assert row["seconds"] > 0
    assert 0.1 < row["peak_gb"] < 4
    assert misses(row) == []
    assert {f["measure"] for f in row["parity"]} >= {"psnr_db", "mask_iou", "prompt_sensitivity"}
    assert "| demo | tflite | fp16 |" in (tmp_path / "results" / "matrix.md").read_text()
    assert not list((tmp_path / "work" / "bundles").glob("*"))


def test_a_size_hardly_depends_on_the_weights(exports):
    """Buffers that are equal before training are stored once: 0.4 % of the demo."""
    trained = sum(graph.bytes for graph in exports.bundle("onnx", "fp16").manifest.graphs)
    assert counts.lowered_size("demo", "onnx") == pytest.approx(trained, rel=0.005)


def test_a_missed_floor_is_a_row_not_an_error(tmp_path, monkeypatch):
    """Filled weights take the same way, and what the check refuses is kept with the figures."""
    elsewhere = dataclasses.replace(DEMO, published=Published("demo.pt", "https://example.org"))
    monkeypatch.setattr(measure, "load_variant", lambda name: elsewhere)

    def off(work):
        with torch.no_grad():  # after the goldens were recorded
            for parameter in work.graph.module.parameters():
                parameter.mul_(1.02)
        return lower(work)

    target = load_target("onnx")
    lower = target.lowers["fp32"]
    wrong = dataclasses.replace(target, lowers={"fp32": off})
    monkeypatch.setattr("exporter.job.load_target", lambda name: wrong)
    row = measure.export_job(MatrixJob("demo", "onnx", "fp32"), tmp_path, None, silent)
    assert row["weights"] == FILLED
    assert "under the floor" in row["missed"][0]
    assert len(row["parity"]) > 5
    found = measure.inspect_bundle(tmp_path / "demo-onnx-fp32")
    assert found["mask_decoder"]["dynamic"] == 0
    made = {**row, "name": "demo-onnx-fp32", "target": "onnx", "precision": "fp32"}
    assert [miss.goal for miss in misses({**made, "variant": "demo"}, ())] == ["parity"]


def test_few_bits_of_filled_weights_are_run_and_not_judged(tmp_path, monkeypatch):
    """And a second row takes what torch gave from the first: the same figures, the same cost."""
    elsewhere = dataclasses.replace(DEMO, published=Published("demo.pt", "https://example.org"))
    monkeypatch.setattr(measure, "load_variant", lambda name: elsewhere)
    job, kept = MatrixJob("demo", "onnx", "int8"), tmp_path / "recordings"
    row = measure.export_job(job, tmp_path / "one", None, silent, kept)
    figures = {f["measure"]: f["value"] for f in row["parity"] if f["output"] == "masks"}
    assert row["weights"] == FILLED
    assert row["missed"] == []
    assert 0 < figures["mean_mask_iou"] <= 1
    assert row["reused_cpu_s"] == 0
    assert len(list(kept.glob("*.npz"))) >= 1 + FEW["GATE_PICTURES"]
    again = measure.export_job(job, tmp_path / "two", None, silent, kept)
    assert again["reused_cpu_s"] > 0
    assert again["parity"] == row["parity"]


def test_filled_weights_are_the_same_each_time_and_measured_on_the_goldens_picture():
    one, other = fill(DEMO).state_dict(), fill(DEMO).state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    network = fill(DEMO)
    seen = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _, __, out: seen.append(out))
            module.weight.data.fill_(1.0)
            module.bias.data.fill_(0.0)
            break
    side = DEMO.preprocess.size
    image = scene(SEED, side, side).image.transpose(2, 0, 1)[None].astype(np.float32)
    rule = DEMO.preprocess
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (rule.mean, rule.std))
    with torch.no_grad():
        network.image_encoder((torch.from_numpy(image) - mean) / std)
    (out,) = seen
    size = out.square().mean(dim=(0, 2, 3)).sqrt()
    assert size.max() == pytest.approx(1, abs=1e-3)  # brought down to 1, where it was above
    assert size.min() > 0.1
