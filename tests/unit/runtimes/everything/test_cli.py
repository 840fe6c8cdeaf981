"""`sam-run --everything` as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from runtimes.cli import main
from runtimes.everything.outputs import overlay
from runtimes.everything.segments import Everything
from tests.unit.runtimes.segmenters.tiny_alone import build_detector
from tests.unit.runtimes.segmenters.tiny_halves import build_halves
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import Recipe, build

FREE = ("--stability-score-thresh", "0", "--pred-iou-thresh", "0.6", "--points-per-side", "4")


@pytest.fixture
def run(command_on_tiny):
    return command_on_tiny(main)


def test_every_file_holds_the_same_masks(run, here):
    status, out, err = run(
        "dog.png", "--everything", *FREE, "-o", "o.png", "--flatten", "l.png", "--coco", "c.json"
    )
    assert (status, err) == (0, "")
    assert "masks by grid: 16 prompts" in out
    assert "encode masks" in out
    data = json.loads((here / "c.json").read_text())
    labels = np.asarray(Image.open("l.png"))
    assert labels.shape == RGB.shape[:2]
    assert 0 < labels.max() <= len(data["annotations"])
    pictured = pytest.importorskip("pycocotools.mask", reason="pycocotools reads the masks")
    masks = []
    for each in data["annotations"]:
        mask = pictured.decode(each["segmentation"]).astype(bool)
        assert mask.sum() == each["area"]
        assert pictured.toBbox(each["segmentation"]).tolist() == each["bbox"]
        masks.append(mask)
    assert np.array_equal(np.any(masks, axis=0), labels > 0)
    drawn = np.asarray(Image.open("o.png"))
    assert (drawn != RGB).any(axis=-1)[labels > 0].mean() > 0.9


def test_json_says_all_and_writes_nothing_unasked(run, here):
    status, out, _ = run("dog.png", "--everything", "hierarchical", *FREE[:4], "--json")
    rows = json.loads(out)
    assert (status, rows["method"], rows["partial"]) == (0, "hierarchical", False)
    assert rows["count"] == len(rows["masks"]) == rows["left"]["nms"][0][1]
    assert {"encode", "decode", "measure"} <= set(rows["seconds"])
    assert rows["files"] == []
    assert [path.name for path in here.iterdir()] == ["dog.png"]


def test_boxes_and_a_detectors_bundle(run, here, tmp_path):
    status, out, _ = run(
        "dog.png", "--everything", "object-aware", "--box", "5,5,50,50", "--box", "60,9,99,55"
    )
    assert status == 0
    assert out.startswith("2 masks by object-aware: 2 prompts\n")
    one = ("dog.png", "--everything", "object-aware", "--box", "5,5,50,50")
    assert run(*one)[1].startswith("1 mask by object-aware: 1 prompt\n")
    build_detector(tmp_path / "found-onnx-fp32")
    found = str(tmp_path / "found-onnx-fp32")
    status, out, _ = run("dog.png", "--everything", "object-aware", "--detector", found, "--json")
    assert (status, json.loads(out)["method"]) == (0, "object-aware")
    left = json.loads(out)["left"]
    assert left.pop("candidates") == json.loads(out)["count"]
    assert left == {"after_iou": None, "after_stability": None, "after_edges": None, "nms": []}
    status, out, _ = run("dog.png", "--everything", bundle=found)
    assert status == 0
    assert "masks by detector" in out


def test_refining_says_which_bundle_can(run, tmp_path):
    build(tmp_path / "maskless", Recipe(takes_mask=False))
    build_halves(tmp_path / "halves")
    asked = ("dog.png", "--everything", *FREE, "--refine")
    status, _, err = run(*asked, bundle=str(tmp_path / "maskless"))
    assert (status, err.split(": ", 2)[2]) == (
        2,
        "tiny takes no earlier mask, which --refine gives it: leave out --refine\n",
    )
    assert "sam-export without --everything" in run(*asked, bundle=str(tmp_path / "halves"))[2]


def test_fast_says_what_it_costs(run):
    _, _, err = run("dog.png", "--everything", *FREE, "--fast")
    assert "sam-run: fast: masks were chosen by boxes" in err
    assert "mean IoU" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--everything", "tinysam"), "did you mean hierarchical"),
        (("--everything", "grid.png"), "IMAGE goes before --everything"),
        (("--everything", "--point", "3,4"), "leave out --point"),
        (("--everything", "--mask", "m.png"), "leave out --mask"),
        (("--everything", "detector"), "cannot do --everything detector"),
        (("--everything", "proposed"), "has no head that proposes points"),
        (("--everything", "--box", "1,2,3,4"), "goes with --everything object-aware"),
        (("--everything", "object-aware"), "--detector BUNDLE, or --box"),
        (("--everything", "hierarchical", "--crop-n-layers", "1"), "takes no --crop-n-layers"),
        (("--everything", "--points-per-side", "0"), "--points-per-side is a whole number"),
        (("--everything", "--crop-nms-thresh", "0.5"), "goes with --crop-n-layers or --min-mask"),
        (
            ("--everything", "--crop-n-layers", "1", "--crop-n-points-downscale-factor", "99"),
            "--crop-n-points-downscale-factor 99 leaves no point",
        ),
        (("--everything", "--normalized"), "--normalized goes with --box"),
        (("--everything", "--leave-small-regions"), "add --rules sam2"),
        (
            ("--everything", "--leave-small-regions", "--rules", "sam2"),
            "goes with --min-mask-region-area",
        ),
        (("--everything", "--strip", "s.png"), "leave out --strip"),
        (("--everything", "--pred-iou-thresh", "nan"), "should be a number"),
        (("--everything", "--coco", "c.txt"), "end in .json"),
        (("--everything", "--flatten", "l.jpg"), "l.jpg should end in .png or .tif"),
        (("--everything", "--flatten", "l.bmp"), "l.bmp should end in .png or .tif"),
        (("--everything", "-o", "a.png", "--flatten", "a.png"), "different files"),
        (("--fast",), "--fast goes with --everything"),
        (("--point", "3,4", "--points-per-side", "4"), "goes with --everything"),
    ],
)
def test_a_wrong_request_is_one_line(run, here, arguments, says):
    status, out, err = run("dog.png", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["dog.png"]


def test_ctrl_c_keeps_what_is_done(tiny_folder, here):
    # Asked for a hundred times what it can do in the time, and stopped at the first progress.
    asked = [str(tiny_folder), "dog.png", "--everything", *FREE[:4]]
    asked += ["--points-per-side", "256", "--coco", "c.json"]
    code = "import sys; from runtimes.cli import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", code, *asked], stderr=subprocess.PIPE) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert b"of 65536 prompts, about" in first
    assert process.returncode == 130
    assert b"interrupted: the result is partial" in rest
    info = json.loads((here / "c.json").read_text())["info"]
    assert info["partial"]
    assert "of 65536" in info["description"]


def test_an_overlay_of_many_labels_keeps_the_rest():
    labels = np.zeros((600, 20), np.uint16)
    labels[:5] = 300
    rgb = np.full((600, 20, 3), 100, np.uint8)
    drawn = overlay(rgb, labels)
    assert (drawn[6:] == 100).all()
    assert (drawn[:4] != 100).any()


def test_labels_of_nothing():
    from runtimes.everything.segments import Asked, Left

    none = Everything((), (3, 4), "grid", Asked(1, 1, 1, 1), Left(), {})
    assert none.labels().tolist() == [[0] * 4] * 3
    assert none.records() == []
