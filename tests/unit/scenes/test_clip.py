"""Generated clips: the same for the same seed, and their truth is what their pictures show."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image, ImageFilter

from exporter.scenes.clip import NOBODY, clip

DIGEST = "472a98e56024740d08e6313d640dce4dbc6c42b5f7d0e81afca718e8509c20e2"
STILL = 12
"""A seed whose background does not pan."""


def test_a_seed_repeats_and_a_longer_clip_begins_alike() -> None:
    first, longer = clip(3, 64, 80, 3), clip(3, 64, 80, 5)
    for one, other in ((first.frames, longer.frames), (first.owners, longer.owners)):
        np.testing.assert_array_equal(one, other[:3])
    np.testing.assert_array_equal(first.shown, longer.shown[:3])
    assert not np.array_equal(first.frames, clip(4, 64, 80, 3).frames)


def test_a_seed_gives_the_stored_truth() -> None:
    owners = clip(7, 64, 80, 4).owners
    assert hashlib.sha256(owners.tobytes()).hexdigest() == DIGEST


def test_what_changes_belongs_to_an_object() -> None:
    """On a still background, a pixel that changes shows an object before or after, or its edge."""
    made = clip(STILL, 96, 96, 6)
    frames = made.frames.astype(int)
    for at in range(1, 6):
        changed = np.abs(frames[at] - frames[at - 1]).max(axis=2) > 60
        owned = (made.owners[at - 1 : at + 1] != NOBODY).any(axis=0)
        near = np.asarray(Image.fromarray(owned).filter(ImageFilter.MaxFilter(3)))
        assert changed.sum() > 20
        assert (changed & near).sum() == changed.sum()


def test_objects_hide_leave_and_come_back() -> None:
    """Of two dozen objects some are hidden in part, some leave, and some of those come back."""
    partly = gone = back = 0
    for seed in range(4):
        made = clip(seed, 64, 64, 24)
        seen = np.stack([made.masks(n).any(axis=(1, 2)) for n in range(made.shown.shape[1])])
        partly += ((made.shown > 0.1) & (made.shown < 0.8)).any(axis=0).sum()
        gone += (seen[:, 0] & ~seen.all(axis=1)).sum()
        back += ((np.diff(seen.astype(int), axis=1) > 0).any(axis=1) & seen[:, 0]).sum()
        assert (made.shown >= 0).all()
        assert (made.shown <= 1).all()
        for number in made.clear():
            assert made.shown[0, number] >= 0.6
    assert partly > 4
    assert gone > 0
    assert back > 0
