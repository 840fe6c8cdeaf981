"""The Kotlin module compiles without a warning, passes its tests, and gives `sam-run`'s masks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.bundle.folder import Bundle
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
from runtimes.segmenters import Segmenter, open_segmenter
from tests.unit.runtimes.kotlin.kotlin_kit import PACKAGE, java
from tests.unit.runtimes.segment_cases import (
    PICTURES,
    PROMPTS,
    REFUSED,
    SAMPLE,
    try_picture,
    try_prompt,
)
from tests.unit.runtimes.segment_kit import expect_refusal, run

RULES = (
    Preprocess, PromptRule, MaskRule, Stability, DetectionRule, DrawnPrompts, VideoRule, Pruning,
)  # fmt: skip
FILES = ("Rules.kt", "tracking/VideoRule.kt")


@pytest.fixture(scope="module")
def bundle(demo_bundle: Callable[[str, str], Bundle]) -> Bundle:
    return demo_bundle("onnx", "fp16")


@pytest.fixture(scope="module")
def twin(bundle: Bundle) -> Segmenter:
    return open_segmenter(bundle)


@pytest.mark.parametrize("name", ["segmentanything.MainKt", "segmentanything.jvm.MainKt"])
def test_its_own_tests_pass(built: Path, name: str) -> None:
    ran = java(f"-Dgolden.vectors={CASES}", name)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed, _, count = ran.stdout.partition(" checks passed")[0].partition(" of ")
    assert passed == count
    assert int(count) > 10


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


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_a_picture_cut_short_ends_with_one_line(built, bundle, cut, tmp_path) -> None:
    content = SAMPLE.read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: int(len(content) * cut)])
    expect_refusal(built, bundle.path, [tmp_path / "cut.png", "--point", "5,5"], "is not whole")


def test_a_changed_picture_ends_with_one_line(built, bundle, tmp_path) -> None:
    content = bytearray(SAMPLE.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "changed.png").write_bytes(content)
    expect_refusal(built, bundle.path, [tmp_path / "changed.png", "--point", "5,5"], "is damaged")


def test_without_a_compiler_the_command_says_what_to_install(built, tmp_path) -> None:
    nothing = {"SAM_KOTLIN_JARS": str(tmp_path / "nowhere"), "SAM_KOTLIN_BUILD": str(tmp_path)}
    ran = run(built, environment=nothing)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "sam-segment: error: the Kotlin compiler is missing: pip install 'sam-export[kotlin]'\n"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_reader_knows_every_field_of_a_rule(rule: type) -> None:
    """It refuses those it does not know, and so every bundle that has one."""
    core = PACKAGE / "core/src/main/kotlin/segmentanything"
    text = "".join((core / name).read_text() for name in FILES)
    names = [field.name for field in dataclasses.fields(rule)]
    assert [name for name in names if json.dumps(name) not in text] == []
