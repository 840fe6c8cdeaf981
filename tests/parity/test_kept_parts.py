"""What is asked to stay float does, on every target; the rest is in few bits."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from exporter.bundle.folder import open_bundle
from exporter.bundle.recipe import RECIPE, read_recipe
from exporter.cli import main
from exporter.targets import load_target
from exporter.targets import names as target_names

pytestmark = pytest.mark.parity

JOB = ["--precision", "int8-weights", "--quantize-decoder", "--keep-float", "*.neck", "--quiet"]
NECK, LINEAR = (64, 64, 3, 3), (64, 256)
"""Shapes of a weight of the neck, and of a layer of the decoder's transformer and of no other."""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, exports):
    """Target -> its bundle, from one run."""
    folder = tmp_path_factory.mktemp("kept")
    argv = ["--target", "all", *JOB, "--checkpoint", str(exports.weights())]
    assert main([*argv, "--output", str(folder)]) == 0
    made = [name for name in target_names() if "int8-weights" in load_target(name).lowers]
    return {name: open_bundle(folder / f"demo-{name}-int8-weights") for name in made}


def onnx_types(path):
    """Shape -> the types that constants of this shape have; sides sorted."""
    found = {}
    for tensor in onnx.load(path).graph.initializer:
        key = tuple(sorted(side for side in tensor.dims if side > 1))
        found.setdefault(key, set()).add(TensorProto.DataType.Name(tensor.data_type))
    return found


def tflite_types(path):
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    words = {code: name for name, code in vars(schema.TensorType).items() if name.isupper()}
    model, found = flatbuffer_utils.read_model(str(path)), {}
    for tensor in model.subgraphs[0].tensors:
        if model.buffers[tensor.buffer].data is not None:
            key = tuple(sorted(int(side) for side in tensor.shape if side > 1))
            found.setdefault(key, set()).add(words[tensor.type])
    return found


def core_ml_types(path):
    import coremltools as ct

    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    found = {}
    for operation in block.operations:
        if operation.type == "const" or operation.type.startswith("constexpr"):
            kind = operation.outputs[0].type.tensorType
            sides = (d.constant.size for d in kind.dimensions)
            key = tuple(sorted(side for side in sides if side > 1))
            word = "FLOAT16" if operation.type == "const" else "INT8"
            found.setdefault(key, set()).add(word)
    return found


READ = {"onnx": onnx_types, "tflite": tflite_types, "coreml": core_ml_types}


@pytest.mark.parametrize("target", READ)
def test_the_neck_has_half_size_and_the_stages_have_8_bits(bundles, target):
    types = READ[target](bundles[target].file("image_encoder"))
    assert types[tuple(sorted(NECK))] == {"FLOAT16"}
    assert "INT8" in types[96, 384]
    assert "FLOAT16" not in types[96, 384]


@pytest.mark.parametrize("target", READ)
def test_the_decoders_transformer_has_8_bits_and_its_other_parts_do_not(bundles, target):
    types = READ[target](bundles[target].file("mask_decoder"))
    assert "INT8" in types[LINEAR]
    assert "INT8" not in types.get((16, 32), set())  # the second upscaling


def test_core_mls_first_layers_take_values_that_are_not_rounded(exports):
    """An operation's name is not that of its output: by the latter, none of these was found."""
    import coremltools as ct

    (bundle,) = (each for each in exports.all_targets("int8") if each.manifest.target == "coreml")
    path = str(bundle.file("image_encoder"))
    spec = ct.models.MLModel(path, skip_model_load=True).get_spec()
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    makers = {out.name: each for each in block.operations for out in each.outputs}
    rounded = {}
    for each in block.operations:
        if each.type == "conv":
            maker = makers[each.inputs["x"].arguments[0].name]
            side = maker.outputs[0].type.tensorType.dimensions[-1].constant.size
            rounded.setdefault(side >= 48, []).append(maker.type == "dequantize")
    assert rounded[True] == [False] * 7  # S / 4 and finer
    assert all(rounded[False])


def test_masks_are_kept(bundles):
    for bundle in bundles.values():
        figures = {f.measure: f.value for f in bundle.manifest.parity if f.output == "masks"}
        assert figures["mean_mask_iou"] >= 0.995
        assert figures["other_mask_share"] <= 0.04


def test_the_recipe_is_in_the_bundle_and_the_manifest(bundles):
    for bundle in bundles.values():
        assert RECIPE in bundle.manifest.files
        recipe = read_recipe(bundle.path / RECIPE)
        assert recipe.keep_float == ("*.neck",)
        assert recipe.quantize_decoder
        asked = bundle.manifest.few_bits
        assert (asked.keep_float, asked.quantize_decoder) == (("*.neck",), True)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, exports):
    """A bundle that had to meet a bar, and the answer of the command."""
    folder = tmp_path_factory.mktemp("searched")
    argv = ["--target", "onnx", "--precision", "int4-weights", "--min-iou", "0.995", "--quiet"]
    argv += ["--checkpoint", str(exports.weights()), "--output", str(folder), "--json"]
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(argv) == 0
    return open_bundle(folder / "demo-onnx-int4-weights"), json.loads(said.getvalue())


def test_blocks_are_kept_until_the_bar_is_met(searched, exports):
    bundle, answer = searched
    recipe = read_recipe(bundle.path / RECIPE)
    trials = answer["bundles"][0]["trials"]
    assert [each["mean_mask_iou"] >= 0.995 for each in trials] == [False] * (len(trials) - 1) + [
        True
    ]
    assert len(trials) >= 2
    assert trials[0]["kept"] == []
    assert list(recipe.keep_float) == trials[-1]["kept"]
    assert (
        list(recipe.keep_float) == [block.name for block in recipe.blocks][: len(recipe.keep_float)]
    )
    (reached,) = (f.value for f in bundle.manifest.parity if f.measure == "mean_mask_iou")
    assert reached == trials[-1]["mean_mask_iou"] == recipe.trials[-1].mean_mask_iou
    assert all(each["latency_ms"] > 0 for each in trials)
    plain = exports.bundle("onnx", "int4-weights").manifest.graph("image_encoder").bytes
    assert plain < bundle.manifest.graph("image_encoder").bytes < 2 * plain


def test_a_recipe_gives_the_same_bytes_without_measuring(searched, tmp_path, exports, capfd):
    bundle, _ = searched
    argv = ["--target", "onnx", "--precision", "int4-weights", "--output", str(tmp_path)]
    argv += ["--checkpoint", str(exports.weights()), "--recipe", str(bundle.path / RECIPE)]
    assert main(argv) == 0
    again = open_bundle(tmp_path / "demo-onnx-int4-weights")
    for name in ("image_encoder.onnx", "mask_decoder.onnx", RECIPE):
        assert again.manifest.files[name] == bundle.manifest.files[name], name
    assert "block 1 of" not in capfd.readouterr().err


def test_a_bar_out_of_reach_writes_nothing(tmp_path, capfd, monkeypatch):
    from exporter import budget
    from exporter.budget import Measured

    def poor(blocks, bar, measure):
        return search(blocks, bar, lambda kept: Measured(kept, 0.99, 1, None))

    search = budget.search
    monkeypatch.setattr(budget, "search", poor)
    argv = ["--target", "onnx", "--precision", "int8", "--min-iou", "0.999", "--quiet"]
    assert main([*argv, "--output", str(tmp_path)]) == 1
    line = capfd.readouterr().err.strip()
    assert line.startswith("sam-export: error: --min-iou 0.999 is out of reach: 0.9900 was, with")
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_there_is_not_writes_nothing(tmp_path, capfd):
    argv = ["--target", "onnx", "--precision", "int8", "--keep-float", "*.nek", "--quiet"]
    assert main([*argv, "--output", str(tmp_path)]) == 2
    line = capfd.readouterr().err.strip()
    assert "--keep-float '*.nek' names no part of this network; its blocks are image_enc" in line
    assert np.array(list(tmp_path.iterdir())).size == 0
