from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.folder import (
    LOG,
    hash_file,
    open_bundle,
    read_manifest,
    safe_path,
    same_job,
    tree_files,
)
from exporter.errors import BundleError
from tests.unit.tiny_bundle import Recipe as TinyRecipe
from tests.unit.tiny_bundle import build, goldens, manifest, reseal, rewrite


@pytest.fixture
def folder(tmp_path, tiny_folder):
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_a_sealed_bundle_opens_and_knows_its_files(tiny, tiny_folder):
    assert tiny.file("mask_decoder") == tiny_folder / "mask_decoder.onnx"
    assert set(tiny.manifest.files) == set(tree_files(tiny_folder)) - {"manifest.json"}
    assert "glue/Segmenter.kt" in tiny.manifest.files


def test_goldens_come_back_as_stored(tiny):
    stored = goldens(1)
    opened = tiny.goldens()
    for key, array in stored.items():
        graph, case, name = key.split("/")
        np.testing.assert_array_equal(opened.array(graph, case, name), array)
        assert opened.array(graph, case, name).dtype == array.dtype


def test_a_graph_that_is_not_there_is_named(tiny):
    with pytest.raises(BundleError, match="no graph 'prompt_encoder'"):
        tiny.file("prompt_encoder")


def test_hash_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "abc") == digest


def test_one_changed_byte_is_found_and_named(folder):
    path = folder / "mask_decoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"'mask_decoder\.onnx' was changed"):
        open_bundle(folder)


def test_a_missing_file_is_named(folder):
    (folder / "glue" / "Segmenter.kt").unlink()
    with pytest.raises(BundleError, match=r"is missing file 'glue/Segmenter\.kt'"):
        open_bundle(folder)


def test_an_extra_file_is_named(folder):
    (folder / "glue" / "extra.txt").write_text("x")
    with pytest.raises(BundleError, match=r"extra file 'glue/extra\.txt'"):
        open_bundle(folder)


def test_what_the_finder_drops_is_ignored(folder):
    (folder / "glue" / ".DS_Store").write_text("x")
    assert open_bundle(folder).manifest.variant == "tiny"
    assert ".DS_Store" not in "".join(reseal(folder).files)


def test_a_symbolic_link_is_refused_even_to_the_same_bytes(folder, tmp_path):
    inside, outside = folder / "goldens.npz", tmp_path / "elsewhere.npz"
    inside.rename(outside)
    inside.symlink_to(outside)
    with pytest.raises(BundleError, match=r"'goldens\.npz' is a symbolic link"):
        open_bundle(folder)


def test_a_linked_folder_is_refused(folder, tmp_path):
    (folder / "glue").rename(tmp_path / "glue")
    (folder / "glue").symlink_to(tmp_path / "glue", target_is_directory=True)
    with pytest.raises(BundleError, match="'glue' is a symbolic link"):
        open_bundle(folder)


def test_a_pipe_is_refused_without_being_read(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(BundleError, match="'pipe' is not a plain file"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", ".", "a//b"])
def test_a_path_out_of_the_bundle_is_refused(folder, name):
    rewrite(folder, lambda data: data["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="not a path inside the bundle"):
        open_bundle(folder)


def test_a_graph_file_out_of_the_bundle_is_refused(folder):
    rewrite(folder, lambda data: data["graphs"][0].update(file="../other.onnx"))
    with pytest.raises(BundleError, match="not a path inside"):
        open_bundle(folder)


def test_a_graph_without_its_file_is_refused(folder):
    rewrite(folder, lambda data: data["graphs"][0].update(file="other.onnx"))
    with pytest.raises(BundleError, match="no file of graph 'image_encoder'"):
        open_bundle(folder)


def test_a_graph_may_be_a_folder_and_its_files_are_hashed(folder):
    package = folder / "image_encoder.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Data" / "weight.bin").write_bytes(b"weights")
    graphs = manifest(TinyRecipe(), folder).graphs
    first = replace(graphs[0], file="image_encoder.mlpackage", bytes=len(b"weights"))
    reseal(folder, graphs=(first, graphs[1]))
    assert open_bundle(folder).file("image_encoder") == package
    (package / "Data" / "weight.bin").write_bytes(b"Weights")
    with pytest.raises(BundleError, match=r"image_encoder\.mlpackage/Data/weight\.bin"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(colour="red"), "unknown field 'colour'"),
        (lambda data: data.update(schema_version=4), "schema version 4"),
        (lambda data: data.pop("mask"), "is missing the field 'mask'"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[]", b"[" * 100_000])
def test_a_manifest_that_cannot_be_parsed_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match="manifest"):
        open_bundle(folder)


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="not a bundle"):
        open_bundle(tmp_path / "absent")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no zip at all"])
def test_damaged_goldens_are_one_error(folder, content):
    (folder / "goldens.npz").write_bytes(content)
    reseal(folder)
    with pytest.raises(BundleError, match=r"goldens\.npz cannot be read"):
        open_bundle(folder).goldens()


def test_goldens_with_python_objects_are_refused(folder):
    np.savez(folder / "goldens.npz", **{"image_encoder/scene/image": np.array([{}], dtype=object)})
    reseal(folder)
    with pytest.raises(BundleError, match=r"goldens\.npz cannot be read"):
        open_bundle(folder).goldens().array("image_encoder", "scene", "image")


def test_safe_path_keeps_plain_paths():
    assert safe_path("image_encoder.mlpackage/Data/weight.bin").parts[1] == "Data"


def test_seal_leaves_the_toolkit_log_out(folder):
    (folder / LOG).write_text("1234 passes")
    sealed = reseal(folder)
    assert LOG not in sealed.files
    assert open_bundle(folder).manifest == sealed == read_manifest(folder)


def test_the_same_job_gives_the_same_manifest_but_for_the_time(tmp_path):
    first = build(tmp_path / "a")
    second = build(tmp_path / "b")
    assert first == replace(second, created=first.created)
    assert same_job(first, replace(second, graphs=(), files={}))  # before anything is lowered
    assert not same_job(first, replace(second, precision="fp16"))
    assert not same_job(first, replace(second, tools={"onnx": "0"}))
