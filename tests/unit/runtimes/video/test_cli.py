"""`sam-run BUNDLE CLIP` as a user meets it: files, statuses, refusals, Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtimes.cli import main
from runtimes.clips.opening import open_clip
from runtimes.tracker import open_tracker
from runtimes.video.coco import run_lengths
from tests.unit import small_clips, video_bundle
from tests.unit.small_clips import FRAMES, HEIGHT, WIDTH

ROOT = Path(__file__).parents[4]
POINT = ("--point", "20,20")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return video_bundle.build(tmp_path_factory.mktemp("video") / "bundle")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_clips.folder(tmp_path / "frames")
    return tmp_path


@pytest.fixture
def run(bundle, here, capsys):
    def call(*words):
        try:
            status = main([str(bundle.path), *map(str, words)])
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def tracked(bundle, correction=None):
    """Of one point on frame 0: every frame's result, by the public class."""
    follow = open_tracker(bundle)
    follow.start(small_clips.picture(0), frames=FRAMES)
    found = [follow.add_object("1", points=[(20, 20)], labels=[1])]
    for frame in range(1, FRAMES):
        one = follow.track(small_clips.picture(frame))["1"]
        if frame == correction:
            one = follow.correct("1", points=[(30, 30)], labels=[0])
        found.append(one)
    return found


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------- what is written


def test_without_a_file_a_video_is_written_here(run, here):
    assert run("frames", *POINT) == (
        0,
        "object 1: there on 6 of 6 frames\nframes.overlay.mp4\n",
        "",
    )
    assert listing(here) == ["frames", "frames.overlay.mp4"]
    clip = open_clip(here / "frames.overlay.mp4")
    assert (clip.size, clip.frames) == ((WIDTH, HEIGHT), FRAMES)


def test_arrays_hold_what_the_tracker_found(run, here, bundle):
    status, _, err = run("frames", *POINT, "--point", "30,30,0@3", "--arrays", "a.npz")
    assert (status, err) == (0, "")
    expected = tracked(bundle, correction=3)
    with np.load("a.npz") as arrays:
        assert arrays["objects"].tolist() == ["1"]
        assert arrays["frames"].tolist() == list(range(FRAMES))
        for name in ("low_res_masks", "masks", "object_score_logits"):
            assert arrays[name].dtype == np.float32
        assert arrays["masks"].shape == (FRAMES, 1, HEIGHT, WIDTH)
        assert arrays["object_score_logits"].shape == (FRAMES, 1)
        for frame, one in enumerate(expected):
            np.testing.assert_array_equal(arrays["low_res_masks"][frame, 0], one.low_res_mask)
            np.testing.assert_array_equal(arrays["masks"][frame, 0] == 1, one.mask)
            assert arrays["object_score_logits"][frame, 0] == np.float32(one.score)
    assert listing(here) == ["a.npz", "frames"]


def test_an_object_begins_where_it_is_shown(run, here):
    words = ("--object", "a", "--point", "20,20", "--object", "b", "--box", "12,12,26,26@2")
    assert run("frames", *words, "--arrays", "a.npz", "--mask", "m", "--coco", "c.json")[0] == 0
    with np.load("a.npz") as arrays:
        scores, masks, logits = (
            arrays[name] for name in ("object_score_logits", "masks", "low_res_masks")
        )
    assert np.isnan(scores).tolist() == [[False, frame < 2] for frame in range(FRAMES)]
    assert not masks[:2, 1].any()
    assert (logits[:2, 1] == -1024).all()
    assert masks[2, 1].any()
    for frame in range(FRAMES):
        picture = Image.open(here / "m" / f"{frame:05d}.png")
        assert picture.mode == "P"
        index = np.asarray(picture)
        expected = np.where(masks[frame, 0] == 1, 1, np.where(masks[frame, 1] == 1, 2, 0))
        np.testing.assert_array_equal(index, expected)
    coco = json.loads((here / "c.json").read_text())
    assert [image["frame"] for image in coco["images"]] == list(range(FRAMES))
    rows = {(row["image_id"] - 1, row["object"]): row for row in coco["annotations"]}
    for frame in range(FRAMES):
        for number, name in enumerate("ab"):
            mask = masks[frame, number] == 1
            assert ((frame, name) in rows) == mask.any()
            if mask.any():
                row = rows[frame, name]
                assert row["segmentation"]["size"] == [HEIGHT, WIDTH]
                assert row["area"] == mask.sum() == sum(run_lengths(mask)[1::2])
                assert row["track_id"] == number + 1
                x, y, width, height = row["bbox"]
                assert mask[y : y + height, x : x + width].sum() == mask.sum()


def test_a_strip_is_one_picture(run, here):
    assert run("frames", *POINT, "--strip", "s.png")[0] == 0
    assert Image.open(here / "s.png").width > 5 * WIDTH
    assert listing(here) == ["frames", "s.png"]


def test_json_is_a_line_a_frame(run, here, bundle):
    status, out, _ = run("frames", *POINT, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, [row["frame"] for row in rows]) == (0, list(range(FRAMES)))
    for row, one in zip(rows, tracked(bundle), strict=True):
        (found,) = row["objects"]
        assert found["score"] == pytest.approx(one.score)
        assert found["area"] == one.mask.sum()
        assert row["ms"].keys() <= {"device", *(g.spec.name for g in bundle.manifest.graphs)}
    assert listing(here) == ["frames"]


def test_a_video_file_gives_what_its_frames_give(run, here):
    small_clips.video(here / "clip.mkv", codec="ffv1", pixels="bgr0")
    for clip in ("frames", "clip.mkv"):
        assert run(clip, *POINT, "--arrays", f"{clip}.npz")[0] == 0
    with np.load("frames.npz") as one, np.load("clip.mkv.npz") as other:
        np.testing.assert_array_equal(one["low_res_masks"], other["low_res_masks"])


def test_frames_before_the_first_prompt_are_tracked_backward(run, here):
    words = ("--point", "20,20@a@3", "--box", "3,3,30,40@b@5", "--arrays", "a.npz")
    assert run("frames", *words, "--both-ways")[0] == 0
    with np.load("a.npz") as arrays:
        assert np.isfinite(arrays["object_score_logits"]).all()
        both = arrays["low_res_masks"]
    assert run("frames", *words)[0] == 0
    with np.load("a.npz") as arrays:
        np.testing.assert_array_equal(arrays["low_res_masks"][3, 0], both[3, 0])
        assert np.isnan(arrays["object_score_logits"][:3, 0]).all()


def test_every_nth_frame_and_those_with_prompts(run, here):
    assert run("frames", *POINT, "--point", "20,20@3", "--every", "2", "--arrays", "a.npz")[0] == 0
    with np.load("a.npz") as arrays:
        assert arrays["frames"].tolist() == [0, 2, 3, 4]


def test_a_mask_shows_the_object(run, here):
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[10:30, 10:40] = 255
    Image.fromarray(drawn).save("m.png")
    assert run("frames", "--mask-input", "m.png@1", "--arrays", "a.npz")[0] == 0
    with np.load("a.npz") as arrays:
        assert arrays["object_score_logits"][1] == 10
        assert np.mean((arrays["masks"][1, 0] == 1) == (drawn > 0)) > 0.97


def test_shares_are_pixels_of_the_frame(run, here):
    words = ("--arrays", "a.npz")
    assert run("frames", "--point", f"{20 / WIDTH},{20 / HEIGHT}", "--normalized", *words)[0] == 0
    with np.load("a.npz") as arrays:
        shares = arrays["low_res_masks"]
    assert run("frames", *POINT, *words)[0] == 0
    with np.load("a.npz") as arrays:
        np.testing.assert_allclose(shares, arrays["low_res_masks"], atol=1e-4)
    assert "--normalized takes shares" in run("frames", "--point", "0.5,0.5", "--json")[2]


# -------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("frames",), "no prompt: say where an object is"),
        (("frames", "--point", "20,20@6"), "a prompt is on frame 6, and the video has 6 frames"),
        (("frames", "--point", "20,200"), "outside the image"),
        (("none.mp4", *POINT), "none.mp4 is missing"),
        (("photo.png", *POINT), "photo.png is a PNG; this bundle tracks through a video"),
        (("text.mp4", *POINT), "is text"),
        (("frames", *POINT, "--multimask"), "--multimask is for pictures"),
        (("frames", *POINT, "--save-logits", "l.npy"), "--save-logits is for pictures"),
        (("frames", *POINT, "-o", "o.png"), "--strip writes a picture"),
        (("frames", *POINT, "--mask", "sizes"), "sizes holds files"),
        (("frames", *POINT, "--mask", "frames"), "should be different files"),
        (("frames", *POINT, "--mask", "photo.png"), "photo.png is no folder"),
        (("frames", *POINT, "--coco", "c.txt"), "should end in .json"),
        (("frames", *POINT, "--arrays", "a.npy"), "should end in .npz"),
        (("frames", *POINT, "--arrays", "no/a.npz"), "there is no folder no"),
        (("frames", *POINT, "--strip", "a.png", "-o", "a.png"), "should be different files"),
        (
            ("frames", "--box", "1,1,9,9", "--box", "2,2,9,9", "--max-objects", "1"),
            "2 objects, and --max-objects is 1",
        ),
        (("sizes", *POINT), "frame 3 is 32 x 32, and the video began with 64 x 48"),
        (("hurt", *POINT), "3.png is damaged"),
        (("-", *POINT, "--raw-size", "64"), "should be WIDTHxHEIGHT"),
        (("frames", *POINT, "--raw-size", "64x48"), "--raw-size is for frames on standard input"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(run, here, words, says):
    Image.new("RGB", (8, 8)).save("photo.png")
    (here / "text.mp4").write_text("nothing")
    for name in ("sizes", "hurt"):
        small_clips.folder(here / name)
    Image.new("RGB", (32, 32)).save("sizes/3.png")
    (here / "hurt" / "3.png").write_bytes((here / "hurt" / "2.png").read_bytes()[:120])
    before = listing(here)
    extra = () if len(words) > 3 else ("--arrays", "x.npz", "--mask", "y", "--coco", "z.json")
    status, out, err = run(*words, *extra)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert says in err
    assert err.startswith("sam-run: error: ")
    assert listing(here) == before


def test_a_bundle_of_pictures_takes_no_video(tiny_folder, here, capsys):
    small_clips.video(here / "clip.mp4")
    Image.fromarray(small_clips.picture(0)).save("photo.png")
    for words, says in (
        (("clip.mp4", *POINT), "clip.mp4 is a video"),
        (("frames", *POINT), "frames is a folder of frames, and this bundle segments pictures"),
        (("photo.png", *POINT, "--arrays", "a.npz"), "--arrays is for videos"),
        (("photo.png", "--point", "1,2@a@3"), "@NAME@FRAME and --object are for videos"),
        (("photo.png", "--object", "a", *POINT), "--object is for videos"),
    ):
        assert main([str(tiny_folder), *words]) == 2
        captured = capsys.readouterr()
        assert says in captured.err
        assert captured.err.count("\n") == 1


def test_a_disk_that_fails_leaves_nothing(run, here, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    status, _, err = run("frames", *POINT, "--mask", "m", "--arrays", "a.npz")
    assert (status, err.count("\n")) == (1, 1)
    assert "No space left" in err
    assert listing(here) == ["frames"]


# ---------------------------------------------------------------------------------------- a camera


def started(bundle, *words, here):
    return subprocess.Popen(
        [sys.executable, "-m", "runtimes.cli", str(bundle.path), "-", *POINT, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_the_frames_that_are_finished(bundle, here, number):
    running = started(
        bundle, *("--json", "--arrays", "a.npz", "--mask", "m", "-o", "o.mp4"), here=here
    )
    try:
        running.stdin.write(small_clips.ppm(4))
        running.stdin.flush()
        for _ in range(4):
            running.stdout.readline()
        time.sleep(0.2)
        running.send_signal(number)
        _, err = running.communicate(timeout=30)
    finally:
        running.kill()
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    expected = f"sam-run: {word} after 4 frames, which are in o.mp4, m, a.npz\n"
    assert (running.returncode, err.decode()) == (128 + number, expected)
    with np.load(here / "a.npz") as arrays:
        assert arrays["masks"].shape == (4, 1, HEIGHT, WIDTH)
    assert listing(here / "m") == [f"{frame:05d}.png" for frame in range(4)]
    assert open_clip(here / "o.mp4").frames == 4
    assert listing(here) == ["a.npz", "frames", "m", "o.mp4"]


def test_a_pipe_gives_what_a_folder_gives(run, here, monkeypatch):
    assert run("frames", *POINT, "--arrays", "a.npz")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(small_clips.ppm())))
    assert run("-", *POINT, "--arrays", "b.npz")[0] == 0
    with np.load("a.npz") as one, np.load("b.npz") as other:
        # Nobody knows the end of a pipe, which the age of a pointer is measured by.
        np.testing.assert_array_equal(one["low_res_masks"][0], other["low_res_masks"][0])
        assert one["frames"].tolist() == other["frames"].tolist()


def test_a_prompt_that_never_came_is_named(run, here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(small_clips.ppm(3))))
    status, _, err = run("-", *POINT, "--point", "9,9@7", "--arrays", "b.npz")
    assert status == 2
    assert "a prompt is on frame 7, and the video ended with frame 2" in err
    assert listing(here) == ["frames"]
