"""Bundles with known forms, read from real files, and the command as a user meets it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from coremltools.converters.mil.mil import Builder as mb
from onnx import TensorProto, helper

from exporter.bundle.folder import open_bundle
from exporter.bundle.manifest import GraphFile
from exporter.bundle.tensors import GraphSpec, TensorSpec
from exporter.cli import main
from exporter.errors import BundleError, RequestError
from exporter.progress import silent
from runtimes.lint.checking import check_bundle, reader_of
from runtimes.lint.readers import coreml, module_of
from runtimes.lint.readers import onnx as onnx_reader
from runtimes.lint.rules import RULES
from tests.unit import tiny_bundle
from tests.unit.mil.building import save_program

ENTRY = GraphFile(
    GraphSpec(
        "segmenter",
        (TensorSpec("image", (1, 4), "float32", "NC"),),
        (TensorSpec("masks", (1, 4), "float32", "NC"),),
        "image",
    ),
    "segmenter",
    1,
)


def names(network):
    return [rule.name for rule in RULES for _ in rule.finds(network)]


def test_a_core_ml_package_with_argmax_of_half_values_is_found(tmp_path):
    def wrong(x):
        return mb.reduce_argmax(x=mb.cast(x=x, dtype="fp16"), axis=-1)

    path = save_program(tmp_path / "wrong.mlpackage", wrong, [np.zeros((2, 8), np.float32)])
    assert names(coreml.read(path, ENTRY)) == ["half-index"]

    def right(x):
        return mb.reduce_argmax(x=x, axis=-1)

    path = save_program(tmp_path / "right.mlpackage", right, [np.zeros((2, 8), np.float32)])
    assert names(coreml.read(path, ENTRY)) == []


def test_an_onnx_file_tells_constants_from_what_it_computes(tmp_path):
    weight = helper.make_tensor("block.fc.weight", TensorProto.FLOAT, (4, 4), [1.0] * 16)
    twice = helper.make_node("Add", ["block.fc.weight", "block.fc.weight"], ["double"], "fold")
    nodes = [
        twice,
        helper.make_node("MatMul", ["x", "double"], ["y"], "product"),
        helper.make_node("HardSwish", ["y"], ["z"], "swish"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in ("x", "z")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "g.onnx")
    network = onnx_reader.read(tmp_path / "g.onnx", ENTRY)
    assert [each.kind for each in network.operations] == ["linear", "hard_swish"]
    assert names(network) == ["flat-hard-swish"]


def test_modules_are_read_off_the_names_of_weights():
    assert module_of("network_layers_0_fc_weight_to_fp16") == "network_layers_0_fc"
    assert module_of("mask_decoder.norm1.bias") == "mask_decoder.norm1"
    assert module_of("k67") == module_of("var_11") == ""


def test_values_that_float16_cannot_hold_are_seen_by_running(tmp_path, monkeypatch):
    tiny_bundle.build(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    assert check_bundle(bundle, silent) == ()
    monkeypatch.setattr("runtimes.lint.checking.LARGEST_HALF", 1e-3)
    found = check_bundle(bundle, silent)
    assert {each.rule for each in found} == {"half-overflow"}
    assert check_bundle(bundle, silent, static=True) == ()


def test_what_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(RequestError, match="reads no marble bundles"):
        reader_of("marble")
    tiny_bundle.build(tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    (bundle.path / bundle.manifest.graphs[0].file).write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"cannot read .*export the bundle again"):
        check_bundle(bundle, silent)


def test_findings_as_json_say_what_to_do_and_a_graph_is_named_once(tmp_path, capfd, monkeypatch):
    tiny_bundle.build(tmp_path / "bundle")
    (wide,) = (rule for rule in RULES if rule.name == "wide-attention")
    seen = dataclasses.replace(
        wide,
        finds=lambda network: iter([(network.operations[0], "has a batch of 16")]),
        apple=False,
    )
    monkeypatch.setattr("runtimes.lint.checking.RULES", (seen,))
    assert main(["check", str(tmp_path / "bundle"), "--static", "--json"]) == 1
    told = capfd.readouterr()
    (row, *_) = json.loads(told.out)[str(tmp_path / "bundle")]
    assert row["shown"] == "has a batch of 16"
    assert "run the bundle's goldens on the phone" in row["advice"]
    assert row["effect"]
    assert row["sources"]
    lines = [line.partition("] ")[2] for line in told.err.splitlines()]
    assert lines[0] == "bundle: reading image_encoder"
    assert len(set(lines)) == len(lines)


def test_the_command(tmp_path, capfd):
    tiny_bundle.build(tmp_path / "bundle")
    assert main(["check", str(tmp_path / "bundle"), "--static", "--quiet"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'bundle'}: nothing found\n"
    assert main(["check", "--rules", "--json"]) == 0
    rules = json.loads(capfd.readouterr().out)
    assert {"half-index", "half-overflow"} <= {rule["name"] for rule in rules}
    assert main(["check"]) == 2
    assert main(["check", str(tmp_path)]) == 2
    assert main(["check", "--rules", "--static"]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 3
