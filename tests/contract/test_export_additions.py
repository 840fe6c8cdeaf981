"""A variant, a graph, a precision and a target, made from outside: new files, nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.folder import read_manifest
from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.demo import network
from tests.contract.house import ROOT, build_house

GRAPH = '''
"""`doubler`: a third graph that doubles what the encoder gives."""

from torch import nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import graph_of
from exporter.graphs.image_encoder import features, slots_of


class Doubler(nn.Module):
    def forward(self, embeddings):
        return embeddings * 2


def build(network, variant, prompts):
    (given,) = features(slots_of(variant))
    doubled = TensorSpec("doubled", given.shape, given.dtype, given.layout)
    return graph_of(GraphSpec("doubler", (given,), (doubled,), "frame"), Doubler())
'''
OFFSETTER = '''
"""`offsetter`: a graph with an input that nothing else gives."""

import numpy as np
from torch import nn

from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.graphs import graph_of
from exporter.graphs.image_encoder import features, slots_of


class Offsetter(nn.Module):
    def forward(self, embeddings, memory):
        return embeddings + memory


def build(network, variant, prompts):
    (given,) = features(slots_of(variant))
    memory = TensorSpec("memory", given.shape, given.dtype, given.layout)
    offset = TensorSpec("offset", given.shape, given.dtype, given.layout)

    def examples(numbers):
        return {
            "blank": {"memory": np.zeros(memory.shape, np.float32)},
            "noise": {"memory": numbers.normal(size=memory.shape).astype(np.float32)},
        }

    spec = GraphSpec("offsetter", (given, memory), (offset,), "frame")
    return graph_of(spec, Offsetter(), examples)
'''
VARIANT = '''
"""The demo model with a third graph and a fourth."""

from dataclasses import replace

from exporter.variants import Slots, demo

(DEMO,) = demo.VARIANTS
GRAPHS = ("offsetter", "doubler", "mask_decoder", "image_encoder")
VARIANTS = (
    replace(DEMO, name="toy", family="toy", prompting=replace(DEMO.prompting, graphs=GRAPHS)),
)
'''
PRECISION = '''
"""Everything stays float: held to what fp32 is held to."""

from exporter.precision import Precision

PRECISION = Precision("calm-floats", "nothing is rounded", "float32", "float32", floors="fp32")
'''
CALM_ONNX = '''
"""The float32 file."""

from exporter.targets.onnx.fp32 import lower as in_float32


def lower(work):
    return in_float32(work)
'''
TARGET = '''
"""ONNX under another name."""

from exporter.targets import Target, by_precision

TARGET = Target(
    name="boxed",
    packages=("torch", "onnx"),
    extra="onnx",
    image_type=False,
    platform=lambda options, precision: "a box",
    lowers=by_precision(__name__),
)
'''
BOXED = '''
"""The float32 ONNX file, renamed."""

from dataclasses import replace

from exporter.targets.onnx.fp32 import lower as in_onnx


def lower(work):
    file = in_onnx(work)
    boxed = f"{work.graph.spec.name}.box"
    (work.folder / file.file).rename(work.folder / boxed)
    return replace(file, file=boxed)
'''
ENGINE = '''
"""ONNX Runtime reads a box as it is."""

from dataclasses import replace

from runtimes.engines import ort

ENGINE = replace(ort.ENGINE, name="unboxer", target="boxed")
'''


@pytest.fixture
def house(tmp_path):
    (tmp_path / "house").mkdir()
    return build_house(tmp_path / "house")


def exported(house, output, *options):
    """The manifest of the one bundle that `sam-export` makes."""
    command = ("--checkpoint", network.WEIGHTS, "--output", output, "--json", "--quiet", *options)
    ran = house.run("exporter.cli", *command)
    assert ran.returncode == 0, ran.stderr
    (bundle,) = json.loads(ran.stdout)["bundles"]
    return bundle["path"], bundle["manifest"]


@pytest.mark.parity
def test_a_variant_with_more_graphs_is_a_file_each(house, tmp_path) -> None:
    house.add("exporter/graphs/doubler.py", GRAPH)
    house.add("exporter/graphs/offsetter.py", OFFSETTER)
    house.add("exporter/variants/toy.py", VARIANT)
    assert "toy" in house.run("exporter.cli", "--list").stdout
    options = ("--variant", "toy", "--target", "onnx", "--precision", "fp32")
    path, manifest = exported(house, tmp_path / "bundles", *options)
    graphs = [(graph["spec"]["name"], graph["spec"]["runs"]) for graph in manifest["graphs"]]
    assert graphs == [
        ("image_encoder", "image"),
        ("mask_decoder", "prompt"),
        ("offsetter", "frame"),
        ("doubler", "frame"),
    ]
    judged = {(figure["graph"], figure["output"]) for figure in manifest["parity"]}
    assert {("doubler", "doubled"), ("offsetter", "offset")} <= judged
    assert ("image_encoder+mask_decoder+offsetter", "offset") in judged
    assert ("image_encoder+mask_decoder+offsetter+doubler", "doubled") in judged
    specs = [graph.spec for graph in read_manifest(Path(path)).graphs]
    goldens = Goldens.open(Path(path) / GOLDENS, specs)
    assert goldens.cases("offsetter") == ["blank", "noise"]
    moved = goldens.array("offsetter", "noise", "offset") - goldens.array(
        "offsetter", "blank", "offset"
    )
    np.testing.assert_allclose(moved, goldens.array("offsetter", "noise", "memory"), atol=1e-5)
    ran = house.run("runtimes.cli", path, "--check")
    assert ran.returncode == 0, ran.stderr
    picture = ROOT / "exporter" / "demo" / "sample.png"
    given = (path, picture, "--point", "181,319", "-o", tmp_path / "overlay.png")
    assert house.run("runtimes.cli", *given).returncode == 0
    method = ("--runs", "3", "--seconds", "0", "--warmup", "0", "--repeats", "1", "--json")
    store = ("--store", tmp_path / "p.jsonl", "--quiet")
    ran = house.run("profiles.cli", path, "--device", "host", *method, *store)
    assert ran.returncode == 0, ran.stderr
    assert {"doubler", "offsetter"} <= set(re.findall(r"\w+", (tmp_path / "p.jsonl").read_text()))


@pytest.mark.parity
def test_a_precision_is_a_file_and_a_file_in_a_target(house, tmp_path) -> None:
    house.add("exporter/precision/calm_floats.py", PRECISION)
    house.add("exporter/targets/onnx/calm_floats.py", CALM_ONNX)
    options = ("--variant", "demo", "--precision", "calm-floats")
    path, manifest = exported(house, tmp_path / "bundles", *options, "--target", "onnx")
    assert path.endswith("demo-onnx-calm-floats")
    assert min(f["value"] for f in manifest["parity"] if f["measure"] == "psnr_db") > 100
    masks = [f for f in manifest["parity"] if f["output"] == "low_res_masks"]
    assert {f["floor"] for f in masks if f["measure"] == "mask_iou"} == {0.999}
    assert house.run("runtimes.cli", path, "--check").returncode == 0
    listed = house.run("exporter.cli", "--list")
    assert "calm-floats: nothing is rounded." in listed.stdout
    house.add(
        "exporter/precision/loose.py",
        PRECISION.replace("calm-floats", "loose").replace("fp32", "loose"),
    )
    refused = house.run("exporter.cli", "--precision", "loose", "--target", "onnx")
    words = "error: no floors are set for precision loose: add its row to FLOORS"
    assert refused.returncode == 2
    assert words in refused.stderr
    assert "lowering" not in refused.stderr
    refused = house.run("exporter.cli", *options, "--target", "tflite")
    assert refused.returncode == 2
    assert "tflite cannot be exported in calm-floats; choose from fp16, fp32" in refused.stderr


@pytest.mark.parity
def test_a_target_is_a_folder_and_an_engine(house, tmp_path) -> None:
    house.add("exporter/targets/boxed/__init__.py", TARGET)
    house.add("exporter/targets/boxed/fp32.py", BOXED)
    house.add("runtimes/engines/unboxer.py", ENGINE)
    options = ("--variant", "demo", "--target", "boxed", "--precision", "fp32")
    path, manifest = exported(house, tmp_path / "bundles", *options)
    assert [graph["file"] for graph in manifest["graphs"]] == [
        "image_encoder.box",
        "mask_decoder.box",
    ]
    assert house.run("runtimes.cli", path, "--check").returncode == 0
