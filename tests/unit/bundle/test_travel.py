"""Travel leaves traces: harmless ones are let through, others told with what mends them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from exporter.bundle import damage
from exporter.bundle.folder import open_bundle, seal
from exporter.bundle.travel import explain_no_bundle, is_harmless, opens_otherwise
from exporter.errors import BundleError
from tests.unit.tiny_bundle import reseal

PACKAGE = "image_encoder.mlpackage"
INDEX = f"{PACKAGE}/Manifest.json"
PACKAGE_INDEX = json.dumps({"a": 1, "b": {"c": [2]}}, indent=4, sort_keys=True) + "\n"


@pytest.fixture
def folder(tmp_path, tiny_folder):
    """A copy that a test may damage, with a package as a Core ML bundle has it."""
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    (copy / PACKAGE).mkdir()
    (copy / INDEX).write_bytes(PACKAGE_INDEX.encode())
    (copy / PACKAGE / "weight.bin").write_bytes(bytes(range(256)) * 400)
    reseal(copy)
    return copy


def told(folder):
    with pytest.raises(BundleError) as error:
        open_bundle(folder)
    return str(error.value)


# ------------------------------------------------------------------------------- let through


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        f"{PACKAGE}/._Manifest.json",
        "__MACOSX/._goldens.npz",
        "Icon\r",
        "glue/Thumbs.db",
        "desktop.ini",
        ".stfolder/marker",
        ".syncthing.goldens.npz.tmp",
        "~syncthing~goldens.npz.tmp",
        ".nfs000000000123abcd00000001",
        ".goldens.npz.Xa81Qz",
        ".git/HEAD",
        ".gitignore",
        "goldens.npz~",
    ],
)
def test_a_trace_of_travelling_is_let_through(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\0\5\26\7")
    assert open_bundle(folder).manifest.variant == "tiny"


def test_a_trace_is_not_sealed_in(folder):
    (folder / "glue" / "._Segmenter.kt").write_bytes(b"\0\5\26\7")
    assert "glue/._Segmenter.kt" not in reseal(folder).files


@pytest.mark.parametrize("name", ["model.onnx", "glue/a.onnx", "Icon", ".env", "x.Ab12Cd"])
def test_other_names_are_no_traces(name):
    assert not is_harmless(name, {"goldens.npz"})


def test_a_listed_file_is_never_a_trace(folder):
    (folder / "glue" / "Segmenter.kt").rename(folder / "glue" / "Segmenter.kt.tmp")
    assert "missing file 'glue/Segmenter.kt'" in told(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: json.dumps(json.loads(data), indent=2).encode(),
    ],
    ids=["CRLF", "no last line end", "written anew"],
)
def test_a_package_index_that_means_the_same_is_let_through(folder, change):
    (folder / INDEX).write_bytes(change((folder / INDEX).read_bytes()))
    assert open_bundle(folder).manifest.variant == "tiny"


def test_a_package_index_that_means_something_else_is_not(folder):
    (folder / INDEX).write_bytes(PACKAGE_INDEX.replace("2", "3").encode())
    assert f"{INDEX!r} was changed after the export" in told(folder)


def test_git_with_line_end_conversion_leaves_a_bundle_alone(folder, tmp_path):
    (folder / "glue" / "README.txt").write_bytes(b"one\ntwo\n")
    reseal(folder)
    before = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    home = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true")
        subprocess.run(["git", *who, *words], check=True, env=home, capture_output=True)

    (tmp_path / "repository").mkdir()
    bundle = shutil.copytree(folder, tmp_path / "repository" / "bundle")
    git("-C", str(tmp_path / "repository"), "init")
    git("-C", str(tmp_path / "repository"), "add", ".")
    git("-C", str(tmp_path / "repository"), "commit", "-m", "bundle")
    git("clone", str(tmp_path / "repository"), str(tmp_path / "windows"))
    cloned = tmp_path / "windows" / bundle.name
    assert open_bundle(cloned).manifest.variant == "tiny"
    assert {p.name: p.read_bytes() for p in cloned.rglob("*") if p.is_file()} == before


def test_the_attributes_may_be_left_behind_or_edited(folder):
    attributes = folder / ".gitattributes"
    assert attributes.read_bytes() == b"* -text\n"
    attributes.write_text("*.onnx filter=lfs\n")
    open_bundle(folder)
    attributes.unlink()
    open_bundle(folder)


# --------------------------------------------------------------------------- told by its cause


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
            ("git-lfs pointer", "git lfs pull"),
        ),
        (b"../../.git/annex/objects/aa/bb/SHA256E-s5--00.onnx\n", ("git annex get",)),
        (b"outs:\n- md5: 0\n", ("dvc pull",)),
        (b"<!DOCTYPE html><title>sign in</title>", ("web page", "download it again")),
        (b"", ("is empty", "copy it again")),
        (b"\x1f\x8b\x08\0", ("is compressed by gzip: gzip -dc ",)),
        (b"PK\3\4\x14\0", ("is in a zip archive: unzip -p ",)),
        (b"\x28\xb5\x2f\xfd\0", ("is compressed by zstd",)),
    ],
)
def test_what_stands_in_a_files_place_is_named(folder, content, words):
    (folder / "mask_decoder.onnx").write_bytes(content)
    line = told(folder)
    assert "mask_decoder.onnx" in line
    assert all(word in line for word in words), line


def test_a_binary_file_that_was_taken_for_text_is_told_with_the_cure(folder):
    weights = folder / PACKAGE / "weight.bin"
    weights.write_bytes(weights.read_bytes().replace(b"\n", b"\r\n"))
    assert "line ends" in told(folder)
    assert ".gitattributes" in told(folder)
    assert "git checkout -- " in told(folder)


def test_a_file_that_was_cut_off_is_told_as_that(folder):
    goldens = folder / "goldens.npz"
    goldens.write_bytes(goldens.read_bytes()[:-40])
    assert "its end is missing" in told(folder)


def test_a_download_that_was_reserved_and_not_filled_is_told(folder):
    weights = folder / PACKAGE / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:10_000] + bytes(90_000))
    assert "ends in zeros" in told(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, ("byte order mark", "tail -c +4")),
        (lambda data: data.decode().encode("utf-16"), ("UTF-16", "iconv -f UTF-16 -t UTF-8")),
        (lambda data: b"<<<<<<< HEAD\n" + data, ("merge conflict", "--ours")),
        (lambda data: data[: len(data) // 2], ("its end is missing",)),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
    ],
)
@pytest.mark.parametrize("name", ["manifest.json", INDEX])
def test_an_edited_json_is_told_with_the_cure(folder, name, change, words):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    line = told(folder)
    assert name in line
    assert all(word in line for word in words), line
    assert "\n" not in line


@pytest.mark.parametrize("content", [b"null\n", b"[]\n", b"17"])
def test_json_that_is_no_object_is_whole(folder, content):
    (folder / "manifest.json").write_bytes(content)
    line = told(folder)
    assert "manifest.json has schema version" in line
    assert "missing" not in line


def test_a_manifest_with_other_line_ends_is_let_through(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert open_bundle(folder).manifest.variant == "tiny"


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "other"),
    [("mask_decoder.onnx", "Mask_Decoder.ONNX"), ("manifest.json", "MANIFEST.JSON")],
)
def test_a_name_in_another_case_is_told_with_the_command(folder, name, other):
    (folder / name).rename(folder / other)
    assert f"called {other!r} here: mv " in told(folder)


def test_a_name_in_another_unicode_form_is_told(folder):
    (folder / "glue" / "Größe.txt").write_text("x")
    reseal(folder)
    apart = unicodedata.normalize("NFD", "Größe.txt")
    (folder / "glue" / "Größe.txt").rename(folder / "glue" / apart)
    assert "mv " in told(folder)


def test_a_disk_that_ignores_case_is_no_fault(folder):
    assert list(opens_otherwise(folder, ["goldens.npz"], ["GOLDENS.NPZ"])) == ["goldens.npz"]
    assert list(opens_otherwise(folder, ["absent.npz"], ["ABSENT.NPZ"])) == []


def test_an_archive_unpacked_without_its_folders_is_told(folder):
    (folder / INDEX).rename(folder / INDEX.replace("/", "\\"))
    assert "folders are lost" in told(folder)


@pytest.mark.parametrize(
    "name",
    [
        "goldens (1).npz",
        "goldens (Ann's conflicted copy 2026-11-29).npz",
        "goldens.sync-conflict-20261129-101500-ABCDEFG.npz",
        "goldens copy.npz",
        "goldens.npz.orig",
    ],
)
def test_a_copy_of_a_file_is_told_with_the_command(folder, name):
    shutil.copy(folder / "goldens.npz", folder / name)
    assert "a copy of 'goldens.npz'" in told(folder)
    assert "rm " in told(folder)


def test_a_missing_file_in_a_work_tree_names_gits_ways(folder):
    (folder.parent / ".git").mkdir()
    (folder / "goldens.npz").unlink()
    assert "git checkout -- " in told(folder)
    assert "git check-ignore -v" in told(folder)


def test_a_file_that_is_still_in_the_cloud_or_packed_is_told(folder):
    (folder / "goldens.npz").rename(folder / ".goldens.npz.icloud")
    assert "brctl download" in told(folder)
    (folder / ".goldens.npz.icloud").rename(folder / "goldens.npz.part")
    assert "only 'goldens.npz.part'" in told(folder)


def test_a_link_of_a_hub_cache_is_told_with_the_command(folder):
    (folder / "goldens.npz").rename(folder.parent / "blob")
    (folder / "goldens.npz").symlink_to("../blob")
    assert "cp -RL " in told(folder)
    (folder / "goldens.npz").unlink()
    (folder / "goldens.npz").symlink_to("../.git/annex/objects/x")
    assert "git annex unlock" in told(folder)


# ------------------------------------------------------------------ something else than a bundle


def test_what_is_given_instead_of_a_bundle_is_named(folder, tmp_path):
    outer = tmp_path / "outer"
    shutil.copytree(folder, outer / "inner")
    (outer / "__MACOSX").mkdir()
    (tmp_path / "bundle.zip").write_bytes(b"PK")
    (tmp_path / "a.mlpackage").mkdir()
    cases = {
        outer: f"one folder deeper: give {outer / 'inner'}",
        folder / PACKAGE: f"part of a bundle: give the bundle, {folder}",
        folder / "mask_decoder.onnx": f"part of a bundle: give the bundle, {folder}",
        folder / "manifest.json": f"is the manifest: give its folder, {folder}",
        tmp_path / "bundle.zip": "is an archive: unzip ",
        tmp_path / "bundle.tar.gz": "no such folder",
        tmp_path / "a.mlpackage": "is a Core ML package",
    }
    for path, words in cases.items():
        assert words in told(path)
    shutil.copytree(folder, outer / "other")
    assert "holds 2 bundles (inner, other)" in told(outer)


def test_a_folder_that_may_not_be_read_is_told_with_the_command(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "chmod -R u+rX" in explain_no_bundle(tmp_path)


def test_a_file_is_looked_into_only_if_its_hash_does_not_fit(folder, monkeypatch):
    monkeypatch.setattr(damage, "explain_change", None)
    assert open_bundle(folder).manifest.variant == "tiny"


def test_sealing_again_changes_nothing_that_travels(folder):
    manifest = open_bundle(folder).manifest
    assert seal(folder, manifest).files == manifest.files
