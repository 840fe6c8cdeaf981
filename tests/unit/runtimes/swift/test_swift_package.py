"""The Swift package builds without a warning, passes its tests, and gives `sam-run`'s masks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import Bundle
from exporter.bundle.rules import (
    DetectionRule,
    DrawnPrompts,
    MaskRule,
    Preprocess,
    PromptRule,
    Stability,
)
from exporter.demo import network
from runtimes.golden_vectors.__main__ import CASES
from runtimes.pictures.reading import read_picture
from runtimes.segmenters import Segmenter, open_segmenter
from tests.unit.runtimes.swift.swift_kit import PACKAGE, compare, run, swift

SAMPLE = Path(network.__file__).parent / "sample.png"
RULES = (Preprocess, PromptRule, MaskRule, Stability, DetectionRule, DrawnPrompts)


@pytest.fixture(scope="module")
def bundle(demo_bundle: Callable[[str, str], Bundle]) -> Bundle:
    return demo_bundle("onnx", "fp16")


@pytest.fixture(scope="module")
def twin(bundle: Bundle) -> Segmenter:
    return open_segmenter(bundle)


def test_its_own_tests_pass(built: Path) -> None:
    ran = swift("test", "--skip-build")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Test run with" in ran.stdout + ran.stderr


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _scene(picture: Image.Image) -> Image.Image:
    return _rgb(picture).rotate(20).crop((60, 90, 590, 341))


PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "landscape.png": _rgb,
    "portrait.ppm": lambda picture: _scene(picture).resize((180, 301)),
    "grey.png": lambda picture: _scene(picture).convert("L"),
    "palette.png": lambda picture: _scene(picture).quantize(13),
    "transparent.png": lambda picture: _scene(picture).convert("RGBA"),
    "black_and_white.png": lambda picture: _scene(picture).convert("1"),
    "turned.png": _scene,
}
PROMPTS = {
    "point": ["--point", "60,80"],
    "points": ["--point", "60,80", "--point", "150,40.5,0"],
    "box": ["--box", "20.5,30,170,170"],
    "box_and_point": ["--box", "20.5,30,170,170", "--point", "100,100,0"],
    "multimask": ["--point", "90,90", "--multimask"],
    "refined": ["--point", "90,90"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_masks_of_every_kind_of_picture(built, bundle, twin, name, tmp_path) -> None:
    picture = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = 6 if name == "turned.png" else 1
    options = {} if name.endswith("ppm") else {"exif": exif}
    PICTURES[name](Image.open(SAMPLE)).save(picture, **options)
    twin.set_picture(read_picture(picture))
    expected = twin.predict([(60, 80)], [1]).masks
    assert 0 < expected.mean() < 1
    compare(built, bundle, [picture, *PROMPTS["point"]], expected)


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_of_every_kind_of_prompt(built, bundle, twin, name, tmp_path) -> None:
    picture = tmp_path / "scene.png"
    _scene(Image.open(SAMPLE)).save(picture)
    twin.set_picture(read_picture(picture))
    words = [picture, *PROMPTS[name]]
    asked = ARGUMENTS[name]
    if name == "refined":
        first = twin.predict(**asked)
        np.save(tmp_path / "first.npy", first.low_res_masks)
        words += ["--mask-input", tmp_path / "first.npy"]
        asked = {**asked, "mask_input": first.low_res_masks}
    compare(built, bundle, words, twin.predict(**asked).masks)


ARGUMENTS: dict[str, dict[str, object]] = {
    "point": {"points": [(60, 80)], "labels": [1]},
    "points": {"points": [(60, 80), (150, 40.5)], "labels": [1, 0]},
    "box": {"box": (20.5, 30, 170, 170)},
    "box_and_point": {"points": [(100, 100)], "labels": [0], "box": (20.5, 30, 170, 170)},
    "multimask": {"points": [(90, 90)], "labels": [1], "multimask": True},
    "refined": {"points": [(90, 90)], "labels": [1]},
}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{picture}"], "no prompt: give a point or a box"),
        (["{picture}", "--point", "9999,5"], "the point 9999,5 is outside the image"),
        (["{picture}", "--point", "nan,5"], "nan,5 is not numbers"),
        (["{picture}", "--box", "9,9,5,5"], "the box 9,9,5,5 is empty"),
        (["{picture}", "--box", "1,2,3"], "a box is X0,Y0,X1,Y1"),
        (["{picture}", "--point", "5,5", "--mask-input", "{picture}"], "is no array of numpy"),
        (["{picture}", "--points", "5,5"], "there is no option --points"),
        (["/nowhere.png", "--point", "5,5"], "/nowhere.png is missing"),
        ([], "give a BUNDLE and a PICTURE"),
        (["{picture}", "--onnxruntime", "/nowhere.so"], "cannot open ONNX Runtime"),
    ],
)
def test_a_wrong_request_ends_with_one_line(built, bundle, words, says) -> None:
    ran = run(built, bundle.path, *(word.format(picture=SAMPLE) for word in words))
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("sam-segment: error: ")
    assert says in line


def test_a_graph_that_is_none_ends_with_one_line(built) -> None:
    ran = run(built, CASES / "bundles" / "good", SAMPLE, "--point", "5,5")
    assert ran.returncode == 2
    (line,) = ran.stderr.splitlines()
    assert "onnxruntime cannot load image_encoder.onnx" in line


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_reader_knows_every_field_of_a_rule(rule: type) -> None:
    """It refuses those it does not know, and so every bundle that has one."""
    text = (PACKAGE / "Sources" / "SegmentAnythingCore" / "Rules.swift").read_text()
    names = [field.name for field in dataclasses.fields(rule)]
    assert [name for name in names if json.dumps(name) not in text] == []
