from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from exporter.bundle.manifest import Figure, Manifest
from exporter.errors import BundleError
from tests.unit.tiny_bundle import Recipe, hashed, manifest

FIGURES = (
    Figure("mask_decoder", "low_res_masks", "psnr_db", 101.5, "dB", "higher", 90.0),
    Figure("image_encoder+mask_decoder", "low_res_masks", "psnr_db", 99.0, "dB", "higher", None),
)


@pytest.fixture
def made():
    return manifest(Recipe(), Path("/nowhere"))


@pytest.fixture
def data(made):
    return json.loads(made.to_json())


def test_what_is_written_is_read_back(made):
    files = ("goldens.npz", "image_encoder.onnx", "mask_decoder.onnx")
    full = replace(made, parity=FIGURES, files=dict.fromkeys(files, "0" * 64))
    assert Manifest.from_json(full.to_json()) == full


def test_figures_with_and_without_a_floor_survive(data):
    data["parity"] = [asdict(figure) for figure in FIGURES]
    assert Manifest.from_json(hashed(data)).parity == FIGURES


def test_the_text_is_stable(made):
    text = made.to_json()
    assert text == Manifest.from_json(text).to_json()
    assert text.endswith("}\n")
    keys = list(json.loads(text))
    assert keys == sorted(keys)


def test_a_graph_is_found_by_name(made):
    assert made.graph("mask_decoder").file == "mask_decoder.onnx"
    with pytest.raises(BundleError, match="no graph 'decoder'"):
        made.graph("decoder")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("variant",), 3, r"manifest\.variant should be .*str.*, not int"),
        (("colour",), "red", "manifest has an unknown field 'colour'"),
        (("preprocess", "gamma"), 2.2, r"manifest\.preprocess has an unknown field 'gamma'"),
        (("preprocess", "size"), 64.0, r"manifest\.preprocess\.size should be .*int"),
        (("preprocess", "size"), True, r"manifest\.preprocess\.size should be .*int"),
        (
            ("preprocess", "mean"),
            [1, 2],
            r"manifest\.preprocess\.mean should be array of length 3, not 2",
        ),
        (("preprocess", "mean"), [1, 2, "3"], r"manifest\.preprocess\.mean\[2\]"),
        (("mask", "multi"), {"1": 2}, r"manifest\.mask\.multi should be"),
        (("mask",), [], r"manifest\.mask should be object, not array"),
        (("prompts", "labels", "box"), "2", r"manifest\.prompts\.labels\[\.\.\.\] should be int"),
        (("licence", "commercial_use"), "yes", r"manifest\.licence\.commercial_use"),
        (("graphs", 0, "spec", "inputs", 0, "shape", 1), 3.0, r"inputs\[0\]\.shape\[1\]"),
        (("graphs", 0, "spec", "name"), None, r"manifest\.graphs\[0\]\.spec\.name"),
        (("files",), ["a"], r"manifest\.files should be"),
        (
            ("graphs", 0, "spec", "runs"),
            "daily",
            r"spec\.runs is 'daily', unknown to this release: get a newer release",
        ),
        (("preprocess", "rounding"), "up", "rounding is 'up'.*get a newer release"),
        (("preprocess", "prompt_scale"), "both", "prompt_scale is 'both'.*get a newer release"),
        (("preprocess", "padded_by"), "app", "padded_by is 'app'.*get a newer release"),
        (("preprocess", "interpolation"), "x", "interpolation is 'x'.*get a newer release"),
        (("mask", "score"), "beauty", "score is 'beauty'.*get a newer release"),
    ],
)
def test_wrong_data_is_refused_with_its_place(data, path, value, message):
    *parents, last = path
    holder = data
    for key in parents:
        holder = holder[key]
    holder[last] = value
    with pytest.raises(BundleError, match=message):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("path", [("licence",), ("source", "sha256"), ("graphs", 1, "file")])
def test_a_missing_field_is_named(data, path):
    *parents, last = path
    holder = data
    for key in parents:
        holder = holder[key]
    del holder[last]
    with pytest.raises(BundleError, match=f"is missing the field '{last}'"):
        Manifest.from_json(json.dumps(data))


def test_a_field_with_a_default_may_be_absent(data):
    del data["graphs"][0]["signature"]
    assert Manifest.from_json(hashed(data)).graphs[0].signature == ""


def test_whole_numbers_are_floats_where_floats_are_wanted(data):
    data["preprocess"]["mean"] = [1, 2, 3]
    mean = Manifest.from_json(hashed(data)).preprocess.mean
    assert mean == (1.0, 2.0, 3.0)
    assert all(type(value) is float for value in mean)


@pytest.mark.parametrize(
    ("version", "shown"),
    [(0, "0"), (1, "1"), (2, "2"), (4, "4"), ("3", "str"), (None, "None")],
)
def test_another_schema_version_asks_for_a_new_export(data, version, shown):
    data["schema_version"] = version
    with pytest.raises(BundleError, match=f"schema version {shown}.*export the bundle again"):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_other_text_is_refused(text):
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Manifest.from_json(text)


def test_a_manifest_of_an_older_release_has_no_second_file_and_the_first_rules(made, data):
    for place, name in (
        ("source", "decoder_checkpoint"),
        ("source", "decoder_sha256"),
        ("preprocess", "rounding"),
        ("preprocess", "prompt_scale"),
        ("preprocess", "padded_by"),
    ):
        del data[place][name]
    assert Manifest.from_json(hashed(data)) == made
    assert (made.source.decoder_checkpoint, made.source.decoder_sha256) == ("", "")
    assert (made.preprocess.rounding, made.preprocess.prompt_scale) == ("half_up", "each_side")
    assert made.preprocess.padded_by == "host"


def test_both_files_of_a_network_are_kept(made):
    source = replace(made.source, decoder_checkpoint="decoder.pt", decoder_sha256="1" * 64)
    full = replace(made, source=source)
    assert Manifest.from_json(full.to_json()).source == source
