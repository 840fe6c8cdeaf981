"""`sam-export compare` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from exporter.cli import main
from tests.unit import tiny_bundle
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import Recipe

QUICK = ["--scenes", "1", "--seconds", "0"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    tiny_bundle.build(folder / "tiny-onnx-fp32")
    tiny_bundle.build(folder / "tiny-onnx-int8", Recipe(precision="int8", flaw="scaled"))
    return [str(folder / "tiny-onnx-fp32"), str(folder / "tiny-onnx-int8")]


def test_a_table_of_the_bundles(folders, capfd):
    assert main(["compare", *folders, *QUICK]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["bundle", "tiny-onnx-fp32", "tiny-onnx-int8"]
    assert "masks of 1 scenes" in lines[3]
    assert "tiny-onnx-int8: picture 1 of 1" in err


def test_json_has_every_figure(folders, capfd):
    assert main(["compare", *folders, *QUICK[:2], "--seconds", "0.01", "--json", "--quiet"]) == 0
    out, err = capfd.readouterr()
    data = json.loads(out)
    assert err == ""
    plain, small = data["bundles"]
    assert plain["agreement"] is None
    assert small["reference"] == "tiny-onnx-fp32"
    assert 0 < small["agreement"]["mean_iou"] < 1
    assert small["truth_iou"] > 0
    assert small["ms"]["mask_decoder"]["p50"] > 0
    assert data["host"]["device_class"] == "host"
    assert data["masks"] == small["agreement"]["masks"]


def test_a_page_is_written(folders, tmp_path, capfd):
    file = tmp_path / "page.html"
    assert main(["compare", *folders, *QUICK, "--html", str(file), "--overlays", "1"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == str(file)
    assert file.read_text().count("<img ") == 3
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_own_pictures(folders, tmp_path, capfd):
    Image.fromarray(RGB).save(tmp_path / "dog.png")
    argv = ["--pictures", str(tmp_path), "--seconds", "0", "--json", "--quiet"]
    assert main(["compare", folders[1], "--reference", folders[0], *argv]) == 0
    data = json.loads(capfd.readouterr().out)
    assert [row["bundle"] for row in data["bundles"]] == ["tiny-onnx-int8", "tiny-onnx-fp32"]
    assert data["bundles"][0]["truth_iou"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pictures", "none"], "none is no folder of pictures"),
        (["--pictures", "."], ". holds no picture"),
        (["--pictures", ".", "--scenes", "3"], "give --scenes or --pictures, not both"),
        (["--seed", "3"], "--seed chooses prompts on --pictures"),
        (["--html", "none/page.html"], "there is no folder none to write page.html to"),
        (["--reference", "none"], "none"),
    ],
)
def test_wrong_requests_are_one_line(folders, tmp_path, monkeypatch, capfd, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *folders, *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("sam-export compare: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_read_is_named(folders, tmp_path, capfd):
    (tmp_path / "dog.png").write_bytes(b"no picture")
    assert main(["compare", *folders, "--pictures", str(tmp_path), "--quiet"]) == 2
    assert "dog.png" in capfd.readouterr().err


def test_a_damaged_bundle_is_refused(folders, tmp_path, capfd):
    tiny_bundle.build(tmp_path / "tiny-onnx-fp16")
    (tmp_path / "tiny-onnx-fp16" / "goldens.npz").write_bytes(b"")
    assert main(["compare", *folders, str(tmp_path / "tiny-onnx-fp16"), *QUICK]) == 2
    assert "tiny-onnx-fp16" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["compare", "--help"], ["--help"]])
def test_help_names_it(capfd, words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert "sam-export compare" in capfd.readouterr().out


def test_asking_for_help_loads_no_runtime():
    code = (
        "import sys\nfrom exporter.cli import main\n"
        "try: main(['compare', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'coremltools', 'ai_edge_litert'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False, text=True,
        capture_output=True,
    )  # fmt: skip
    assert ran.stderr == ""
    assert ran.returncode == 0
