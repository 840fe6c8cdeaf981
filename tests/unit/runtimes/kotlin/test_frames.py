"""`sam-segment --frames` follows an object through a folder as the Python tracker does."""

from __future__ import annotations

from tests.unit.runtimes.frame_cases import try_frames, try_wrong_bundles


def test_masks_of_frames(built, tmp_path) -> None:
    try_frames(built, tmp_path)


def test_the_wrong_kind_of_bundle_ends_with_one_line(built, tmp_path) -> None:
    try_wrong_bundles(built, tmp_path)
