"""Bundles of every kind and layout: the masks of `sam-segment` are those of the Python twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.runtimes.segment_cases import KINDS, try_kind


@pytest.mark.parametrize("name", KINDS)
def test_masks(built: Path, name: str, tmp_path: Path) -> None:
    try_kind(built, name, tmp_path)
