"""Bundles of every kind and layout: the masks of `sam-segment` are those of the Python twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtimes.segment_cases import (
    EVERYTHING,
    KINDS,
    NOTHING_TO_DO,
    SAMPLE,
    try_everything,
    try_kind,
    try_refining,
)
from tests.unit.runtimes.segment_kit import expect_refusal
from tests.unit.tiny_bundle import build


@pytest.mark.parametrize("name", KINDS)
def test_masks(built: Path, name: str, tmp_path: Path) -> None:
    try_kind(built, name, tmp_path)


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything(built: Path, name: str, tmp_path: Path) -> None:
    try_everything(built, name, tmp_path)


@pytest.mark.parametrize(("words", "says"), NOTHING_TO_DO)
def test_everything_refused(built: Path, words: list[str], says: str, tmp_path: Path) -> None:
    build(tmp_path / "bundle")
    expect_refusal(built, tmp_path / "bundle", [SAMPLE, *words], says)


def test_everything_refined_by_a_bundle_that_cannot(built: Path, tmp_path: Path) -> None:
    try_refining(built, tmp_path)
