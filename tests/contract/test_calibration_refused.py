"""Calibration that cannot be done: one line, status 2, and nothing is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkits': torch versions, deprecations


@pytest.fixture
def asked(refused, tmp_path):
    """Ask for int8 calibrated on a folder; the line of the refusal. Nothing is written."""

    def ask(*words, precision="int8", target="onnx"):
        given = ["--target", target, "--precision", precision, "--quiet"]
        line = refused(*given, "--output", tmp_path / "out", *words)
        assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
        return line

    return ask


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), np.uint8)).save(folder / name)
    return folder


def test_an_empty_folder(asked, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no picture: give a folder" in asked("--calibration", tmp_path / "empty")


def test_a_file_instead_of_a_folder(asked, pictures):
    assert "is a file: give the folder" in asked("--calibration", pictures / "a.png")


@pytest.mark.parametrize("option", [("--ranges", "mse"), ("--calibration", ".")])
def test_a_precision_that_is_not_calibrated(asked, option):
    line = asked(*option, precision="int8-weights")
    assert line.startswith(f"int8-weights is not calibrated: leave out {option[0]}")


def test_a_precision_that_rounds_weights_alone(asked):
    line = asked("--ranges", "mse", precision="int4-weights")
    assert line.endswith("rounds no values: leave out --ranges, which is for --precision int8")


def test_a_palette_reads_no_picture(asked, pictures):
    given = ("--palette", "4", "--calibration", pictures)
    line = asked(*given, precision="int4-weights", target="coreml")
    assert line == "a palette is found in the weights alone: leave out --calibration"


def test_a_precision_that_is_not_judged_by_masks(asked):
    line = asked("--allow-degraded", precision="fp32")
    assert "--allow-degraded is for --precision int8" in line


def test_more_pictures_than_there_are(asked, pictures):
    line = asked("--calibration", pictures, "--calibration-pictures", 3)
    assert line.endswith("holds 2")
    assert "give both" in asked("--calibration-pictures", 3)


def test_a_picture_that_cannot_be_read(asked, pictures):
    (pictures / "b.png").write_bytes((pictures / "b.png").read_bytes()[:900])
    assert "b.png is damaged" in asked("--calibration", pictures)


def test_a_tiny_picture(asked, pictures):
    Image.new("RGB", (8, 8)).save(pictures / "c.png")
    assert "c.png is 8 x 8: a side should have 32 pixels" in asked("--calibration", pictures)


def test_one_grey_picture(asked, tmp_path):
    (tmp_path / "grey").mkdir()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "grey" / "a.png")
    assert "every picture is of one colour" in asked("--calibration", tmp_path / "grey")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is no JSON that can be read"),
        (json.dumps({"c.png": [{"box": [1, 2, 3, 4]}]}), "names 'c.png', which is not in"),
        (json.dumps({"a.png": [{"polygon": []}]}), "unknown key 'polygon'"),
        (json.dumps({"a.png": [{"points": [[500, 20]]}]}), "is outside the image (96 x 64)"),
        (json.dumps({"a.png": [{"points": [[5, 20]] * 9}]}), "export again with --max-points 10"),
    ],
)
def test_prompts_that_cannot_be_used(asked, pictures, content, said):
    (pictures / "prompts.json").write_text(content)
    assert said in asked("--calibration", pictures)
