"""What `sam-segment --frames` of each app library is tried on: a small video bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes.tracker import open_tracker
from tests.unit import tiny_bundle, video_bundle
from tests.unit.published_tracker import picture
from tests.unit.runtimes.segment_kit import AGREE, expect_refusal, run

COUNT = 9
DARK = 0
"""A frame without the object."""


def _frames(folder: Path) -> Path:
    folder.mkdir()
    for at in range(COUNT):
        # By its letters, frame 10 would come first.
        Image.fromarray(picture(at, dark=at == DARK)).save(folder / f"frame {at + 2}.png")
    return folder


def try_frames(built: Path, folder: Path) -> None:
    """Follow an object through frames as the Python tracker does."""
    bundle, frames = video_bundle.build(folder / "video"), _frames(folder / "frames")
    words = ("--frames", frames, "--point", "40,20", "--mask", folder / "mask.png")
    ran = run(built, bundle.path, *words)
    assert ran.returncode == 0, ran.stderr
    tracker = open_tracker(bundle)
    tracker.start(picture(0, dark=True), frames=COUNT)
    found = [tracker.add_object("dog", points=[(40, 20)], labels=[1])]
    found += [tracker.track(picture(at))["dog"] for at in range(1, COUNT)]
    assert [one.present for one in found].index(True) == 1
    lines = [line for line in ran.stdout.splitlines() if line.startswith("frame ")]
    for at, (one, line) in enumerate(zip(found, lines, strict=True)):
        assert line.startswith(f"frame {at}: {'there' if one.present else 'gone'}, score ")
        assert float(line.split()[-1]) == pytest.approx(one.score, abs=2e-3)
        mask = np.asarray(Image.open(folder / f"mask_{at}.png"))
        assert np.mean((mask == 255) == one.mask) >= AGREE


def try_wrong_bundles(built: Path, folder: Path) -> None:
    """Expect one line for each: a picture, a bundle of pictures, a folder without any."""
    bundle, frames = video_bundle.build(folder / "video"), _frames(folder / "frames")
    tiny_bundle.build(folder / "tiny")
    (folder / "empty").mkdir()
    click = ("--point", "5,5")
    first = next(frames.iterdir())
    expect_refusal(built, bundle.path, [first, *click], "open it with Tracker")
    pictures = "has no memory of earlier frames"
    expect_refusal(built, folder / "tiny", ["--frames", frames, *click], pictures)
    expect_refusal(built, bundle.path, ["--frames", folder / "empty", *click], "holds no pictures")
