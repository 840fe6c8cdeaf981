"""Bundles in old runtimes: graphs served from another environment, rows, and what is stated."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from exporter.bundle.folder import read_manifest
from exporter.errors import BundleError, DownloadError
from profiles.lab.oldest import __main__ as command
from profiles.lab.oldest import table, wheels
from profiles.lab.oldest.wheels import ServedGraph, Wheel, install

PYTHON = Path(sys.executable)
HERE = Wheel("onnxruntime", "here")
"""This environment's own, in place of an old one."""


@pytest.fixture
def folder(tmp_path, tiny_folder):
    """A bundle that may be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def test_a_bundle_passes_in_the_runtime_that_is_here(folder):
    found = command.run_in(folder, PYTHON, HERE)
    assert found["passed"], found
    assert found["psnr_db"]["mask_decoder low_res_masks"] > 100


def test_a_refusal_is_the_runtimes_own_words(folder):
    (folder / "mask_decoder.onnx").write_bytes(b"no graph")
    found = command.run_in(folder, PYTHON, HERE)
    assert not found["passed"]
    assert "onnxruntime" in found["reason"].lower()


def test_a_missed_floor_is_no_pass(folder):
    (folder / "mask_decoder.onnx").write_bytes((folder / "image_encoder.onnx").read_bytes())
    assert not command.run_in(folder, PYTHON, HERE)["passed"]


def test_a_runtime_that_dies_is_told(folder, monkeypatch):
    monkeypatch.setattr(wheels, "SERVER", folder / "nothing.py")
    graph = read_manifest(folder).graph("image_encoder")
    with pytest.raises(BundleError, match="onnxruntime here ended with status 2"):
        ServedGraph(PYTHON, HERE, folder / graph.file, graph)


def test_an_environment_is_made_once_with_numpy_before_2(tmp_path, monkeypatch):
    called, wheel = [], Wheel("onnxruntime", "1.17.0")

    def venv(argv):
        called.append(argv)
        (tmp_path / "onnxruntime-1.17.0").mkdir(exist_ok=True)

    monkeypatch.setattr(wheels, "_call", venv)
    assert install(wheel, tmp_path) == tmp_path / "onnxruntime-1.17.0" / "bin" / "python"
    assert called[1][-2:] == ["numpy<2", "onnxruntime==1.17.0"]
    assert "--no-deps" in called[1]
    install(wheel, tmp_path)
    assert len(called) == 2


def test_what_cannot_be_installed_is_told():
    with pytest.raises(DownloadError, match="cannot be installed: no luck"):
        wheels._call([sys.executable, "-c", "raise SystemExit('no luck')"])


def test_the_plan_has_one_variant_a_family_float16_first():
    jobs = command.plan()
    assert [job.precision for job in jobs] == sorted(job.precision for job in jobs)
    assert {job.target for job in jobs} == {"onnx", "tflite"}
    assert len({job.variant for job in jobs}) * 4 == len(jobs)


def run(version, passed, form="", **more):
    return {"form": form, "package": "p", "version": version, "passed": passed, **more}


ROW = {
    "name": "demo-onnx-fp16",
    "variant": "demo",
    "family": "demo",
    "target": "onnx",
    "precision": "fp16",
    "stale": False,
    "opsets": {"": {"image_encoder": 17, "mask_decoder": 20}},
    "runs": [
        run("1.0", False, reason="Fail: (a|b) Opset 20 is under development and so on. More."),
        run("1.1", True),
        run("0.9", True, form="17"),
    ],
}


def test_the_oldest_that_passed_is_stated_for_each_form():
    broken = {**ROW, "family": "other", "runs": [run("1.0", False, reason="no")]}
    failed = {"name": "x", "error": "export: no"}
    assert table.oldest([ROW, broken, failed]) == {
        "onnx": {"fp16": {"demo": {"": {"p": "1.1"}, "17": {"p": "0.9"}}}}
    }


def test_the_page_says_what_passed_what_did_not_and_what_was_not_run():
    results = {
        "rows": [ROW, {"name": "x", "stale": True, "error": "export: no"}],
        "planned": 3,
        "command": "c",
        "date": "d",
        "machine": {"cpu": "c", "cores": 2, "system": "s"},
        "versions": {"onnx": "1"},
    }
    text = table.render(results)
    assert (
        "| demo | demo | onnx | fp16 | 17, 20 | p 1.1 | 1.0: Opset 20 is under development" in text
    )
    assert "| demo | demo | onnx | fp16 | 17 | p 0.9 |" in text
    assert "- x: export: no" in text
    assert "2 of 3 bundles were made; 1 of them are stale" in text
