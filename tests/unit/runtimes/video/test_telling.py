"""Progress: frames a second and the time that is left."""

from __future__ import annotations

import pytest

from runtimes.video.telling import Progress


@pytest.mark.parametrize(
    ("total", "seconds", "says"),
    [
        (100, 0.5, "frame 7, 4 of 100, 2.0 frames/s, 48 s left"),
        (1000, 2.0, "frame 7, 4 of 1000, 2.0 s a frame, 33 min 12 s left"),
        (9000, 2.0, "frame 7, 4 of 9000, 2.0 s a frame, 4 h 59 min left"),
        (None, 0.1, "frame 7, 10.0 frames/s"),
    ],
)
def test_it_says_how_far_it_is(total, seconds, says):
    now = [0.0]
    progress = Progress(total, lambda: now[0])
    for _ in range(4):
        now[0] += seconds
        progress.step(7)
    assert progress.text(7) == says


def test_a_line_comes_every_five_seconds(capsys):
    now = [0.0]
    progress = Progress(20, lambda: now[0])
    for number in range(12):
        now[0] += 1
        progress.step(number)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("sam-run: frame ") for line in lines)
