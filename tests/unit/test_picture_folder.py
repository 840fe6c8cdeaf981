"""Which pictures of a folder are taken, and what each is for."""

from __future__ import annotations

import hashlib
import os

import pytest

from exporter import picture_folder
from exporter.errors import RequestError
from exporter.picture_folder import choose_pictures, spread


@pytest.fixture
def folder(tmp_path):
    """Make files by name; their content is their name."""

    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        return tmp_path

    return make


def test_a_few_pictures_are_all_for_ranges(folder):
    chosen = choose_pictures(folder("b.png", "a.jpg", ".DS_Store", "Thumbs.db", "prompts.json"))
    assert [each.name for each in chosen.files] == ["a.jpg", "b.png"]
    assert {each.use for each in chosen.files} == {"ranges"}
    assert chosen.files[0].sha256 == hashlib.sha256(b"a.jpg").hexdigest()
    assert chosen.prompts_sha256 == hashlib.sha256(b"prompts.json").hexdigest()
    assert "2 pictures" in str(chosen)


@pytest.mark.parametrize(("count", "gate"), [(7, 0), (8, 4), (9, 4), (31, 15), (32, 16), (33, 16)])
def test_of_enough_pictures_half_judge_the_masks(folder, count, gate):
    chosen = choose_pictures(folder(*(f"{at:03}.png" for at in range(count))), count)
    assert len(chosen.paths("gate")) == gate
    assert len(chosen.paths("ranges")) == count - gate
    assert not set(chosen.paths("gate")) & set(chosen.paths("ranges"))


def test_no_more_than_asked_for_are_taken_and_they_are_spread(folder):
    given = folder(*(f"{at:03}.png" for at in range(100)))
    assert len(choose_pictures(given).files) == picture_folder.DEFAULT_PICTURES
    four = choose_pictures(given, 4)
    assert [each.name for each in four.files] == ["000.png", "025.png", "050.png", "075.png"]
    assert "4 of 100 pictures" in str(four)
    assert spread(["a", "b", "c"], 3) == ["a", "b", "c"]


def _loop(path):
    path.symlink_to(path.with_name("other.png"))
    path.with_name("other.png").symlink_to(path)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.png", _loop, "cannot be read: Too many levels of symbolic links"),
        ("a.png", lambda path: path.symlink_to("nowhere.png"), "No such file"),
        ("a.png", os.mkfifo, "is no plain file"),
        ("a\n.png", lambda path: path.write_bytes(b"x"), "rename it"),
        (os.fsdecode(b"\xff.png"), lambda path: path.write_bytes(b"x"), "rename it"),
    ],
)
def test_what_is_no_plain_picture_is_named(folder, name, make, said):
    given = folder("z.png")
    make(given / name)
    with pytest.raises(RequestError, match=said):
        choose_pictures(given)


def test_a_file_of_many_bytes_is_not_read(folder):
    given = folder("a.png")
    with (given / "a.png").open("r+b") as stream:
        stream.truncate(picture_folder.MOST_BYTES + 1)
    with pytest.raises(RequestError, match="more than 512 MB"):
        choose_pictures(given)


def test_folders_inside_are_not_read(folder):
    given = folder()
    (given / "inside").mkdir()
    (given / "inside" / "a.png").write_bytes(b"x")
    with pytest.raises(RequestError, match="holds no picture"):
        choose_pictures(given)


def test_prompts_alone_are_no_pictures(folder):
    with pytest.raises(RequestError, match=r"holds only prompts\.json"):
        choose_pictures(folder("prompts.json"))


def test_a_file_and_a_missing_folder_are_told_apart(folder):
    given = folder("a.png")
    with pytest.raises(RequestError, match="is a file: give the folder"):
        choose_pictures(given / "a.png")
    with pytest.raises(RequestError, match="is missing"):
        choose_pictures(given / "nowhere")


def test_more_are_asked_for_than_there_are(folder):
    with pytest.raises(RequestError, match=r"--calibration-pictures 3: .* holds 1$"):
        choose_pictures(folder("a.png"), 3)


def test_a_folder_of_very_many_files_is_not_listed_whole(folder, monkeypatch):
    monkeypatch.setattr(picture_folder, "MOST_FILES", 3)
    with pytest.raises(RequestError, match="holds more than 3 files"):
        choose_pictures(folder("a.png", "b.png", "c.png", "d.png"))
