"""`sam-run` as a user meets it: what it writes, what it refuses, statuses, --check."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ImageError
from runtimes.arguments import parser
from runtimes.cli import main
from runtimes.outputs import bounding_box
from runtimes.pictures.reading import read_picture
from runtimes.segmenters.slots import SlotSegmenter
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import LOW, Recipe, build


@pytest.fixture
def run(command_on_tiny):
    return command_on_tiny(main)


def expected(tiny, **prompts):
    segmenter = SlotSegmenter(tiny)
    segmenter.set_image(RGB)
    return segmenter.predict(**prompts)


# ------------------------------------------------------------------------------------ ordinary use


def test_without_a_file_the_overlay_is_written_here(run, here):
    status, out, err = run("dog.png", "--point", "40,30")
    assert (status, err) == (0, "")
    assert out.splitlines()[1] == "dog.overlay.png"
    assert out.startswith("mask 0: iou 0.610, ")
    assert Image.open(here / "dog.overlay.png").size == (120, 60)
    assert sorted(p.name for p in here.iterdir()) == ["dog.overlay.png", "dog.png"]


def test_a_mask_is_black_and_white_and_the_segmenters(run, here, tiny):
    status, _, _ = run("dog.png", "--point", "40,30", "--point", "90,30,0", "--mask", "m.png")
    assert status == 0
    wanted = expected(tiny, points=[[40, 30], [90, 30]], labels=[1, 0]).masks[0]
    np.testing.assert_array_equal(np.asarray(Image.open("m.png")), wanted * 255)
    assert not Path("dog.overlay.png").exists()


def test_multimask_writes_numbered_masks(run, here, tiny):
    status, out, _ = run("dog.png", "--box", "10,10,70,50", "--multimask", "--mask", "m.png")
    assert status == 0
    assert out.splitlines()[3:] == ["m_0.png", "m_1.png", "m_2.png"]
    wanted = expected(tiny, box=(10, 10, 70, 50), multimask=True).masks
    for i, mask in enumerate(wanted):
        np.testing.assert_array_equal(np.asarray(Image.open(f"m_{i}.png")), mask * 255)


def test_json_says_everything_and_writes_nothing(run, here, tiny, tiny_folder):
    status, out, err = run("dog.png", "--point", "40,30", "--json", "--engine", "ort")
    assert (status, err) == (0, "")
    report = json.loads(out)
    wanted = expected(tiny, points=[[40, 30]], labels=[1])
    assert report["bundle"] == str(tiny_folder)
    assert [report[key] for key in ("variant", "target", "precision", "engine")] == [
        "tiny", "onnx", "fp32", "ort",
    ]  # fmt: skip
    assert report["image"] == {"width": 120, "height": 60}
    assert report["prompts"] == {
        "points": [[40, 30]], "labels": [1], "box": None, "mask_input": None,
    }  # fmt: skip
    assert report["masks"] == [
        {
            "iou_prediction": pytest.approx(0.61),
            "area": int(wanted.masks.sum()),
            "box": bounding_box(wanted.masks[0]),
        }
    ]
    assert set(report["ms"]) == {"device", "load", "set_image", "predict"}
    assert report["ms"]["device"] == "host"
    assert report["files"] == []
    assert [p.name for p in here.iterdir()] == ["dog.png"]


def test_saved_logits_refine_the_next_run(run, here, tiny):
    assert run("dog.png", "--point", "40,30", "--save-logits", "l.npy")[0] == 0
    logits = np.load("l.npy")
    assert logits.shape == (1, LOW, LOW)
    assert logits.dtype == np.float32
    more = ("--mask-input", "l.npy", "--save-logits", "second.npy", "--json")
    status, out, _ = run("dog.png", "--point", "40,30", *more)
    assert status == 0
    assert json.loads(out)["prompts"]["mask_input"] == "l.npy"
    wanted = expected(tiny, points=[[40, 30]], labels=[1], mask_input=logits)
    np.testing.assert_allclose(np.load("second.npy"), wanted.low_res_masks, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300)])
def test_slim_pictures_work(run, here, size):
    Image.new("RGB", size, (9, 9, 9)).save("slim.png")
    status, out, err = run("slim.png", "--point", "0,0", "-o", "o.png", "--mask", "m.png")
    assert (status, err) == (0, "")
    assert Image.open("o.png").size == Image.open("m.png").size == size
    assert "o.png" in out


# -------------------------------------------------------------------- wrong requests and bad files


def test_three_logits_are_no_mask_input(run, here):
    assert run("dog.png", "--point", "40,30", "--multimask", "--save-logits", "l.npy")[0] == 0
    status, _, err = run("dog.png", "--point", "40,30", "--mask-input", "l.npy")
    assert status == 2
    assert "mask_input is one mask, and this has 3: keep one of them" in err


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_holds_no_logits_is_named(run, here, content):
    Path("l.npy").write_bytes(content)
    status, _, err = run("dog.png", "--point", "40,30", "--mask-input", "l.npy")
    assert status == 2
    assert err.startswith("sam-run: error: l.npy ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give an IMAGE"),
        (("dog.png",), "no prompt: give a point or a box"),
        (("dog.png", "--point", "40"), "argument --point: should be X,Y or X,Y,LABEL"),
        (("dog.png", "--point", "40,nan"), "argument --point: should be X,Y"),
        (("dog.png", "--point", "4,4,3"), "LABEL is 1 (foreground) or 0 (background)"),
        (("dog.png", "--point", "400,3"), "400,3 is outside the image (120 x 60)"),
        (("dog.png", "--box", "1,2,3"), "argument --box: should be X0,Y0,X1,Y1"),
        (("dog.png", "--box", "9,9,3,3"), "is empty: X0,Y0 is top left"),
        (("dog.png", "--point", "4,4", "--threads", "0"), "whole number from 1 to 1024, not '0'"),
        (("dog.png", "--point", "4,4", "--engine", "cuda"), "unknown engine 'cuda'"),
        (("dog.png", "--point", "4,4", "--engine", "litert"), "runs tflite bundles, not onnx"),
        (("dog.png", "--point", "4,4", "--colour", "red"), "unrecognized arguments"),
        (("cat.png", "--point", "4,4"), "cat.png is missing"),
        (("dog.png", "--point", "4,4", "-o", "no/such/o.png"), "there is no folder no/such"),
        (("dog.png", "--point", "4,4", "-o", "o.txt"), "o.txt should end in .png"),
        (("dog.png", "--point", "4,4", "--mask", "mask"), "mask should end in .png"),
        (("dog.png", "--point", "4,4", "-o", "dog.png"), "should be different files"),
        (("dog.png", "--point", "4,4", "-o", "a.png", "--mask", "./a.png"), "different files"),
        (("dog.png", "--check"), "--check takes no IMAGE: it runs the bundle's own goldens"),
        (("--check", "--point", "4,4", "-o", "o.png"), "--check takes no --output and no --point"),
        (("--check", "--max-pixels", "180000000"), "--check takes no --max-pixels"),
        (("--check", "--range", "auto"), "--check takes no --range"),
        (("--check", "--multimask"), "--check takes no --multimask"),
        (("--check", "--mask-input", "l.npy"), "--check takes no --mask-input"),
        (("dog.png", "--point", "4,4", "--save-logits", "l.png"), "l.png should end in .npy"),
        (("dog.png", "--point", "4,4", "--save-logits", "l"), "l should end in .npy"),
        (
            ("https://example.com/a.png", "--point", "4,4"),
            "download https://example.com/a.png first",
        ),
        (("file:///tmp/a.png", "--point", "4,4"), "is an address: give the path alone, /tmp/a.png"),
        (
            ("-", "--point", "4,4"),
            "standard input is a stream of frames, and this bundle segments pictures",
        ),
        (("dog.png", *["--point", "4,4"] * 6), "--max-points 7"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(run, here, arguments, message):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("sam-run: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert [p.name for p in here.iterdir()] == ["dog.png"]


def test_a_folder_that_is_no_bundle(run, here):
    status, _, err = run("dog.png", "--point", "4,4", bundle=here)
    assert (status, err) == (
        2,
        f"sam-run: error: {here} is not a bundle: it has no manifest.json\n",
    )


def png_of(width, height):
    """A PNG that only claims its size."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def whole_png():
    Image.fromarray(RGB).save("whole.png")
    return Path("whole.png").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "not a picture"),
        (lambda: b"hello", "not a picture"),
        (lambda: whole_png()[:4000], "damaged"),
        (lambda: whole_png()[:40], "damaged"),
        (lambda: whole_png().replace(b"IDAT", b"IDAX", 1), "damaged"),
        (lambda: png_of(60000, 60000), "too large"),
        (lambda: png_of(0, 0), "damaged"),
    ],
)
def test_a_bad_picture_is_one_line(run, here, make, message):
    Path("bad.png").write_bytes(make())
    with pytest.raises(ImageError, match=message):
        read_picture(Path("bad.png"))
    status, _, err = run("bad.png", "--point", "1,1")
    assert status == 2
    assert err.startswith("sam-run: error: bad.png ")
    assert err.count("\n") == 1


def test_a_folder_is_no_picture(run, here):
    (here / "folder.png").mkdir()
    assert run("folder.png", "--point", "1,1")[::2] == (
        2,
        "sam-run: error: folder.png is a folder of frames, and this bundle segments pictures: "
        "export it with --video\n",
    )


@pytest.mark.parametrize("option", ["-o", "--mask", "--save-logits"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("o.png", "cannot write o.png: it is a folder"),
        ("pipe.png", "cannot write pipe.png: it is no plain file"),
        ("loop/x.png", "there is no folder loop to write x.png to"),
        ("dog.png/x.png", "there is no folder dog.png to write x.png to"),
        ("x" * 300 + ".png", "(304 characters): File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(run, here, option, name, why):
    (here / "o.png").mkdir()
    os.mkfifo(here / "pipe.png")
    (here / "loop").symlink_to("loop")
    before = sorted(path.name for path in here.iterdir())
    status, _, err = run("dog.png", "--point", "4,4", option, name)
    assert status == 2
    assert err.startswith("sam-run: error: ")
    assert err.endswith(f"{why}\n")
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.parametrize("option", ["-o", "--mask", "--save-logits"])
def test_nothing_is_written_into_the_bundle(run, here, tiny_folder, option):
    path = tiny_folder / ("x.npy" if option == "--save-logits" else "x.png")
    status, _, err = run("dog.png", "--point", "4,4", option, path)
    assert (status, path.exists()) == (2, False)
    assert f"{path} lies in the bundle, which holds nothing but what was exported" in err


def test_a_picture_that_is_a_loop_of_links_is_one_line(run, here):
    (here / "loop.png").symlink_to("loop.png")
    status, _, err = run("loop.png", "--point", "4,4", "--json")
    assert (status, err.count("\n")) == (2, 1)


def test_a_folder_that_is_not_ours_to_write_is_said_before_the_work(run, here, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    status, _, err = run("dog.png", "--point", "4,4", "-o", "o.png")
    assert status == 2
    assert err == "sam-run: error: cannot write o.png: the folder . is not yours to write\n"


# --------------------------------------------------------------------------------- bugs and Ctrl-C


def test_debug_shows_where(run):
    status, _, err = run("dog.png", "--point", "400,3", "--debug")
    assert status == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("sam-run: error: the point 400,3")


def test_an_unforeseen_error_is_one_line_too(run, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("runtimes.cli.read_picture", broken)
    status, _, err = run("dog.png", "--point", "4,4")
    assert status == 1
    assert err.startswith("sam-run: error: ZeroDivisionError: by nought (a bug; ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_ends_it_with_its_status_and_leaves_no_file(run, here, monkeypatch, number, word):
    def interrupted(*arguments):
        signal.raise_signal(number)

    monkeypatch.setattr("runtimes.overlay.overlay", interrupted)
    status, _, err = run("dog.png", "--point", "4,4")
    assert (status, err) == (128 + number, f"sam-run: {word}\n")
    assert [p.name for p in here.iterdir()] == ["dog.png"]


# ----------------------------------------------------------------------------------------- --check


def test_check_prints_the_table(run):
    status, out, err = run("--check")
    assert (status, err) == (0, "")
    assert "4 files as exported; engine ort" in out
    assert out.count("reaches the floor") == 8
    assert "end_to_end masks mask_iou 1 reaches the floor 0.99 of fp32" in out
    assert "prompt_sensitivity 1 reaches the floor 0.9 of fp32" in out


def test_check_as_json(run):
    status, out, _ = run("--check", "--json")
    report = json.loads(out)
    assert status == 0
    assert len(report["figures"]) == 17
    assert report["files"] == 4


def test_check_fails_on_a_miss(run, tmp_path):
    build(tmp_path / "deaf", Recipe(flaw="deaf"))
    status, out, err = run("--check", bundle=tmp_path / "deaf")
    assert status == 1
    assert "is under the floor" in out
    assert err.startswith("sam-run: error: mask_decoder low_res_masks psnr_db")
    assert err.endswith("and 8 more\n")


def test_check_fails_on_a_changed_file(run, tmp_path):
    build(tmp_path / "changed")
    (tmp_path / "changed" / "glue" / "Segmenter.kt").write_text("class Evil")
    status, _, err = run("--check", bundle=tmp_path / "changed")
    assert status == 2
    assert "'glue/Segmenter.kt' was changed" in err


# -------------------------------------------------------------------------------- the command line


def test_help_has_examples_that_parse():
    text = parser().format_help()
    lines = [line.split() for line in text.splitlines() if line.startswith("  sam-run ")]
    assert len(lines) >= 6
    bundles = [parser().parse_args(words[1:]).bundle for words in lines]
    assert {path.name for path in bundles} == {
        "mobile_sam-onnx-fp32",
        "fastsam_s-onnx-fp16",
        "edgetam-onnx-fp32",
        "rap_sam_r50-onnx-fp32-panoptic",
        "fastsam3d-onnx-fp32",
    }


def test_the_command_line_is_a_process(tiny_folder, here):
    done = subprocess.run(
        [sys.executable, "-m", "runtimes.cli", tiny_folder, here / "dog.png", "--point", "1,1,7"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_bounding_box():
    mask = np.zeros((5, 7), bool)
    assert bounding_box(mask) is None
    mask[1, 2] = mask[3, 4] = True
    assert bounding_box(mask) == [2, 1, 5, 4]
