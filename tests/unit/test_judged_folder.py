"""Which files of a folder judge a bundle, and which folders are refused."""

from __future__ import annotations

import pytest

from exporter.bundle.manifest import MOST_PICTURES
from exporter.errors import RequestError
from exporter.judged_folder import find_judged


def folder_of(folder, *names):
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_labels_are_paired_with_their_pictures(tmp_path):
    names = ("a.jpg", "a.png", "b.png", "b_mask.png", "c.jpeg", "c-label.png", "d.jpg", ".x")
    found = find_judged(folder_of(tmp_path, *names))
    assert found.pictures == ("a.jpg", "b.png", "c.jpeg", "d.jpg")
    assert found.labels == {"a.jpg": "a.png", "b.png": "b_mask.png", "c.jpeg": "c-label.png"}
    assert (found.coco, found.prompts) == ("", False)


def test_the_digest_is_of_everything_that_is_read(tmp_path):
    folder = folder_of(tmp_path, "a.jpg", "notes.json", "prompts.json")
    before = find_judged(folder)
    assert (before.coco, before.prompts) == ("notes.json", True)
    for name in ("a.jpg", "notes.json", "prompts.json"):
        (folder / name).write_text(f"another {name}")
        after = find_judged(folder)
        assert after.sha256 != before.sha256
        before = after
    folder_of(folder, ".hidden")
    assert find_judged(folder).sha256 == before.sha256


def test_of_many_pictures_some_are_taken_evenly(tmp_path):
    names = [f"{at:03}.jpg" for at in range(2 * MOST_PICTURES)]
    found = find_judged(folder_of(tmp_path, *names, "prompts.json"))
    assert list(found.pictures) == names[::2]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "holds no picture"),
        (("prompts.json",), "holds no picture"),
        (("a.jpg", "b.jpg"), r"says of no picture what is on it: add NAME_mask\.png"),
        (("a.jpg", "one.json", "two.json"), "holds one.json, two.json: keep one file of COCO"),
        (("a.jpg", "b_mask.png"), r"b_mask\.png is the label of no picture"),
    ],
)
def test_a_folder_that_cannot_judge_is_refused(tmp_path, names, said):
    with pytest.raises(RequestError, match=f"^--evaluate .*{said}"):
        find_judged(folder_of(tmp_path, *names))


def test_no_folder(tmp_path):
    with pytest.raises(RequestError, match=r"^--evaluate .*gone is missing"):
        find_judged(tmp_path / "gone")
