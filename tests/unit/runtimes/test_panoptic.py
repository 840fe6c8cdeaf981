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
from runtimes.panoptic.drawing import drawn, edge_distances, plain_name
from runtimes.panoptic.outputs import files_of, lines, write
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


@pytest.mark.parametrize("option", ["--coco x.json", "--refine", "--points-per-side 4"])
def test_options_of_everything_are_not_sent_there(run, option):
    status, _, err = run("dog.png", "--panoptic", "labels.png", *option.split())
    assert status == 2
    assert f"--panoptic finds everything: leave out {option.split()[0]}" in err


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


def bounds(rgb: np.ndarray, found: Segments) -> tuple[int, int, int, int] | None:
    """Where the names of a picture are: left, top, right, bottom."""
    plain = Segments(found.labels, tuple(Segment(*_without_name(s)) for s in found.segments))
    differs = (np.asarray(drawn(rgb, found)) != np.asarray(drawn(rgb, plain))).any(axis=2)
    return Image.fromarray(differs).getbbox()


def test_a_name_stands_inside_a_segment_whose_middle_is_anothers():
    labels = np.ones((200, 300), np.uint16)
    labels[20:180, 20:210] = 2
    sky = Segment(1, 0, "sky", False, 0.9, 0)
    left, top, right, bottom = bounds(np.zeros((200, 300, 3), np.uint8), Segments(labels, (sky,)))
    assert 210 <= left < right <= 300
    assert 0 <= top < bottom <= 200


def test_a_name_at_the_border_is_whole():
    rgb, door = np.zeros((100, 200, 3), np.uint8), (Segment(1, 0, "door", True, 1, 900),)
    whole = bounds(rgb, Segments(np.ones((100, 200), np.uint16), door))
    labels = np.zeros((100, 200), np.uint16)
    labels[:, :9] = 1
    shown = bounds(rgb, Segments(labels, door))
    assert shown[3] - shown[1] == whole[3] - whole[1]
    # The segment's line is white too, and may hide a column of the letters.
    assert shown[2] - shown[0] > whole[2] - whole[0] - 4


def test_a_long_name_is_cut_to_the_picture():
    labels = np.ones((60, 80), np.uint16)
    long = Segment(1, 0, "a very long name of a class", True, 1, 9)
    left, _, right, _ = bounds(np.zeros((60, 80, 3), np.uint8), Segments(labels, (long,)))
    assert left < 20
    assert right > 60


def test_a_name_covers_no_larger_segments():
    labels = np.zeros((40, 200), np.uint16)
    labels[:, 80:120] = 1
    wall, spot = Segment(1, 0, "wall", False, 1, 1599), Segment(2, 1, "spot", True, 1, 1)
    rgb = np.zeros((40, 200, 3), np.uint8)
    left, top, _, _ = bounds(rgb, Segments(labels, (wall,)))
    labels[top + 8, left + 8] = 2
    both = np.asarray(drawn(rgb, Segments(labels, (spot, wall))))
    unnamed = np.asarray(drawn(rgb, Segments(labels, (Segment(*_without_name(spot)), wall))))
    np.testing.assert_array_equal(both, unnamed)


def test_steps_to_the_edge():
    labels = np.zeros((5, 7), np.uint16)
    assert edge_distances(labels)[2].tolist() == [1, 2, 3, 3, 3, 2, 1]
    labels[2, 3] = 1
    assert edge_distances(labels)[2].tolist() == [1, 2, 1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("name", "shown"), [("cat", "cat"), ("pi\u00f1ata", "pinata"), ("\u732b", "#7")]
)
def test_letters_that_the_font_has(name, shown):
    assert plain_name(Segment(7, 0, name, True, 1, 1)) == shown


def test_lines_for_a_reader():
    assert list(lines(found())) == [
        "1: sky, score 0.950, 400 pixels",
        "2: cat, score 0.875, 100 pixels",
    ]


@pytest.mark.parametrize(
    ("sure", "says"),
    [(0, "no mask is sure enough"), (1, "1 mask is sure"), (3, "3 masks are sure of a class, but")],
)
def test_why_nothing_was_found(sure, says):
    (nothing,) = lines(Segments(np.zeros((2, 2), np.uint16), (), sure))
    assert nothing.startswith(f"nothing was found: {says}")


@pytest.mark.parametrize(
    ("labels", "overlay", "says"),
    [
        ("l.jpg", None, r"should end in \.png or \.tif"),
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


def test_a_former_runs_files_are_replaced(tmp_path):
    picture = as_picture(np.full((30, 40, 3), 90, np.uint8))
    for nothing in (found(), Segments(np.zeros((30, 40), np.uint16), ()), found()):
        write(files_of(tmp_path / "l.tif", None, Path("photo.png")), picture, nothing)
    assert len(json.loads((tmp_path / "l.json").read_text())["segments"]) == 2


@pytest.mark.parametrize("text", ['["cat", "dog"]', '{"segments": [{"id": 1}]}', "{}", "no JSON"])
def test_another_json_is_not_replaced(tmp_path, text):
    (tmp_path / "photo.json").write_text(text)
    with pytest.raises(RequestError, match=r"photo\.json is not a table that --panoptic wrote"):
        files_of(tmp_path / "photo.tif", None, Path("photo.jpg"))


def test_another_overlay_is_replaced_only_if_it_is_named(tmp_path):
    shown = tmp_path / "photo.overlay.png"
    Image.new("RGB", (4, 4)).save(shown)
    with pytest.raises(RequestError, match=r"photo\.overlay\.png .* name the overlay with -o"):
        files_of(tmp_path / "photo.tif", None, Path("photo.jpg"))
    assert files_of(tmp_path / "photo.tif", shown, Path("photo.jpg")).overlay == shown
