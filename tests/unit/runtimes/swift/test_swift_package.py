"""The Swift package builds without a warning, passes its tests, and gives `sam-run`'s masks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.app_code import put_app_code
from exporter.bundle.agreement import END_TO_END
from exporter.bundle.folder import Bundle, read_manifest
from exporter.bundle.manifest import Figure
from exporter.bundle.rules import (
    DetectionRule,
    DrawnPrompts,
    MaskRule,
    Preprocess,
    PromptRule,
    Stability,
)
from exporter.bundle.video import Pruning, VideoRule
from runtimes.golden_vectors.__main__ import CASES
from runtimes.parity import check_parity
from runtimes.segmenters import Segmenter, open_segmenter
from tests.unit import tiny_bundle
from tests.unit.runtimes.segment_cases import (
    PICTURES,
    PROMPTS,
    REFUSED,
    SAMPLE,
    try_picture,
    try_prompt,
)
from tests.unit.runtimes.segment_kit import expect_refusal, onnxruntime
from tests.unit.runtimes.swift.swift_kit import PACKAGE, STRICT, require_swift, run, swift

RULES = (
    Preprocess, PromptRule, MaskRule, Stability, DetectionRule, DrawnPrompts, Figure, VideoRule,
    Pruning,
)  # fmt: skip


FILES = ("Rules", "Figures", "VideoRule")


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


@pytest.mark.parametrize("name", PICTURES)
def test_masks_of_every_kind_of_picture(built, bundle, twin, name, tmp_path) -> None:
    try_picture(built, bundle, twin, tmp_path / name)


@pytest.mark.parametrize("name", PROMPTS)
def test_masks_of_every_kind_of_prompt(built, bundle, twin, name, tmp_path) -> None:
    try_prompt(built, bundle, twin, name, tmp_path)


@pytest.mark.parametrize(("words", "says"), REFUSED)
def test_a_wrong_request_ends_with_one_line(built, bundle, words, says) -> None:
    given = [word.format(picture=SAMPLE) for word in words]
    expect_refusal(built, bundle.path, given, says)


def test_a_graph_that_is_none_ends_with_one_line(built) -> None:
    good = CASES / "bundles" / "good"
    says = "onnxruntime cannot load image_encoder.onnx"
    expect_refusal(built, good, [SAMPLE, "--point", "5,5"], says)


def test_verify_measures_what_the_python_twin_measures(built, bundle) -> None:
    ran = run(built, bundle.path, "--verify", "--onnxruntime", onnxruntime())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    measured = [f for f in bundle.manifest.parity if f.graph != END_TO_END]
    assert len(measured) == 10
    for figure in measured:
        (line,) = (
            line
            for line in lines
            if line.startswith(f"{figure.graph} {figure.output} {figure.measure} ")
        )
        assert float(line.split()[3]) == pytest.approx(figure.value, rel=1e-3)
        assert ("reaches the floor" in line) == (figure.floor is not None)
    assert "cpuOnly (chosen): agrees, image_encoder" in ran.stdout


def test_verify_refuses_what_computes_something_else(built, tmp_path) -> None:
    good, scaled = tmp_path / "good", tmp_path / "scaled"
    tiny_bundle.build(good)
    figures = check_parity(good, read_manifest(good))
    tiny_bundle.build(scaled, tiny_bundle.Recipe(flaw="scaled"))
    tiny_bundle.reseal(scaled, parity=figures)
    ran = run(built, scaled, "--verify", "--onnxruntime", onnxruntime())
    assert ran.returncode == 2
    assert "the masks differ from the published network's" in ran.stderr
    assert "cpuOnly: refused: " in ran.stdout
    assert "is over the limit 0.0001" in ran.stdout


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_reader_knows_every_field_of_a_rule(rule: type) -> None:
    """It refuses those it does not know, and so every bundle that has one."""
    core = PACKAGE / "Sources" / "SegmentAnythingCore"
    text = "".join((core / f"{name}.swift").read_text() for name in FILES)
    names = [field.name for field in dataclasses.fields(rule)]
    assert [name for name in names if json.dumps(name) not in text] == []


def test_the_package_beside_a_bundle_builds(tmp_path: Path) -> None:
    require_swift()
    folder = tmp_path / "tiny"
    tiny_bundle.build(folder)
    manifest = dataclasses.replace(read_manifest(folder), target="coreml")
    put_app_code(folder, manifest, folder.name)
    scratch = ("--scratch-path", tmp_path / "scratch")
    ran = run("swift", "build", "--package-path", folder / "swift", *scratch, *STRICT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning:" not in ran.stdout + ran.stderr
