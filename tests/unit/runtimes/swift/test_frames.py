"""`sam-segment --frames` follows an object through a folder as the Python tracker does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import Bundle
from runtimes.tracker import open_tracker
from tests.unit import tiny_bundle, video_bundle
from tests.unit.published_tracker import picture
from tests.unit.runtimes.segment_kit import AGREE, expect_refusal
from tests.unit.runtimes.swift.swift_kit import run

DARK = 0
"""A frame without the object."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for at in range(9):
        # By its letters, frame 10 would come first.
        Image.fromarray(picture(at, dark=at == DARK)).save(folder / f"frame {at + 2}.png")
    return folder


def test_masks_of_frames(built, bundle, frames, tmp_path) -> None:
    words = ("--frames", frames, "--point", "40,20", "--mask", tmp_path / "mask.png")
    ran = run(built, bundle.path, *words)
    assert ran.returncode == 0, ran.stderr
    tracker = open_tracker(bundle)
    tracker.start(picture(0, dark=True), frames=9)
    found = [tracker.add_object("dog", points=[(40, 20)], labels=[1])]
    found += [tracker.track(picture(at))["dog"] for at in range(1, 9)]
    assert [one.present for one in found].index(True) == 1
    lines = [line for line in ran.stdout.splitlines() if line.startswith("frame ")]
    for at, (one, line) in enumerate(zip(found, lines, strict=True)):
        assert line.startswith(f"frame {at}: {'there' if one.present else 'gone'}, score ")
        assert float(line.split()[-1]) == pytest.approx(one.score, abs=2e-3)
        mask = np.asarray(Image.open(tmp_path / f"mask_{at}.png"))
        assert np.mean((mask == 255) == one.mask) >= AGREE


def test_the_wrong_kind_of_bundle_ends_with_one_line(built, bundle, frames, tmp_path) -> None:
    first = next(frames.iterdir())
    expect_refusal(built, bundle.path, [first, "--point", "5,5"], "open it with Tracker")
    tiny_bundle.build(tmp_path / "tiny")
    asked = ["--frames", frames, "--point", "5,5"]
    expect_refusal(built, tmp_path / "tiny", asked, "has no memory of earlier frames")
    expect_refusal(
        built, bundle.path, ["--frames", tmp_path, "--point", "5,5"], "holds no pictures"
    )
