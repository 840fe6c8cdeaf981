"""`sam-run --panoptic`: files, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.panoptic import Segment, Segments
from exporter.errors import RequestError
from runtimes.cli import main
from runtimes.panoptic.outputs import drawn, files_of, lines, write
from runtimes.pictures.arrays import as_picture


@pytest.fixture
def run(command_on_tiny):
    return command_on_tiny(main)


def found() -> Segments:
    labels = np.zeros((30, 40), np.uint16)
    labels[:10], labels[20:, 5:15] = 1, 2
    return Segments(
        labels,
        (Segment(1, 2, "sky", False, 0.95, 400), Segment(2, 0, "cat", True, 0.875, 100)),
    )


def test_a_bundle_without_the_graph_refuses(run):
    status, out, err = run("dog.png", "--panoptic", "labels.png")
    assert (status, out) == (2, "")
    assert "has no panoptic graph" in err
    assert err.count("\n") == 1
    assert not Path("labels.png").exists()


def test_everything_that_is_written(tmp_path):
    picture = as_picture(np.full((30, 40, 3), 90, np.uint8))
    files = files_of(tmp_path / "l.png", None, Path("photo.png"))
    write(files, picture, found())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.json", "l.overlay.png", "l.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(files.labels)), found().labels)
    rows = json.loads(files.classes.read_text())["segments"]
    assert rows[1] == {
        "id": 2, "class": 0, "name": "cat", "thing": True, "score": 0.875, "area": 100,
    }  # fmt: skip
    assert Image.open(files.overlay).size == (40, 30)


def test_more_than_a_byte_of_segments(tmp_path):
    labels = np.arange(1200, dtype=np.uint16).reshape(30, 40) % 301
    many = tuple(Segment(n, n, str(n), True, 0.9, 4) for n in range(1, 301))
    files = files_of(tmp_path / "l.png", None, Path("photo.png"))
    write(files, as_picture(np.zeros((30, 40, 3), np.uint8)), Segments(labels, many))
    np.testing.assert_array_equal(np.asarray(Image.open(files.labels)), labels)


def test_names_are_drawn_on_their_segments():
    rgb = np.full((300, 400, 3), 90, np.uint8)
    whole = found()
    large = Segments(whole.labels.repeat(10, axis=0).repeat(10, axis=1), whole.segments)
    plain = Segments(large.labels, tuple(Segment(*_without_name(s)) for s in large.segments))
    differs = (np.asarray(drawn(rgb, large)) != np.asarray(drawn(rgb, plain))).any(axis=2)
    assert differs[:100].any()
    assert differs[200:].any()
    assert not differs[110:190].any()


def _without_name(segment: Segment) -> tuple[int, int, str, bool, float, int]:
    return segment.number, segment.label, "", segment.thing, segment.score, segment.area


def test_lines_for_a_reader():
    assert list(lines(found())) == [
        "1: sky, score 0.950, 400 pixels",
        "2: cat, score 0.875, 100 pixels",
    ]
    (nothing,) = lines(Segments(np.zeros((2, 2), np.uint16), ()))
    assert "nothing was found" in nothing


@pytest.mark.parametrize(
    ("labels", "overlay", "says"),
    [
        ("l.jpg", None, "cannot hold a mask"),
        ("l.webp", None, "16 bits"),
        ("nowhere/l.png", None, "no folder"),
        ("l.png", "l.png", "different files"),
        ("photo.png", None, "different files"),
    ],
)
def test_files_that_cannot_be_written(tmp_path, monkeypatch, labels, overlay, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=says):
        files_of(Path(labels), overlay and Path(overlay), Path("photo.png"))
