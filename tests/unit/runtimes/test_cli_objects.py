"""`sam-run` with several objects, prompts at the edge, shares, and how pictures are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import open_bundle
from exporter.bundle.prompts import Prompts
from runtimes.cli import main
from runtimes.outputs import bounding_box
from runtimes.segmenters import open_segmenter
from runtimes.segmenters.slots import SlotSegmenter
from tests.unit.runtimes.segmenters.tiny_alone import build_detector, build_drawn
from tests.unit.small_pictures import RGB
from tests.unit.tiny_bundle import Recipe, build

LEFT, RIGHT = (10, 10, 50, 50), (70, 10, 110, 50)
BOXES = ("--box", "10,10,50,50", "--box", "70,10,110,50")


@pytest.fixture
def run(command_on_tiny):
    return command_on_tiny(main)


def refused(run, *arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("sam-run: error: ")
    assert err.count("\n") == 1
    return err


def alone(folder, **prompts):
    segmenter = open_segmenter(open_bundle(folder))
    segmenter.set_image(RGB)
    return segmenter.predict(**prompts)


@pytest.fixture(params=[1, 2, 3], ids=lambda batch: f"batch {batch}")
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("batch") / "bundle"
    build(made, Recipe(batch=request.param))
    return made


def test_every_box_has_its_mask(run, folder, monkeypatch):
    calls, decode = [], SlotSegmenter.decode

    def counted(self, sets, *rest, **options):
        calls.append(len(sets))
        return decode(self, sets, *rest, **options)

    monkeypatch.setattr(SlotSegmenter, "decode", counted)
    status, out, err = run("dog.png", *BOXES, "--mask", "m.png", bundle=folder)
    batch = open_bundle(folder).manifest.prompts.batch
    assert calls == ([1, 1] if batch == 1 else [2])
    assert (status, err) == (0, "")
    assert out.splitlines()[2:] == ["m-1.png", "m-2.png"]
    assert out.startswith("object 1, mask 0: iou 0.610, ")
    for name, box in (("m-1.png", LEFT), ("m-2.png", RIGHT)):
        wanted = alone(folder, box=box).masks[0]
        np.testing.assert_array_equal(np.asarray(Image.open(name)), wanted * 255)


def test_json_lists_the_objects_with_their_masks(run, tiny_folder):
    points = ("--point", "30,30@1", "--point", "5,5,0@dog")
    status, out, _ = run("dog.png", "--json", "--multimask", *BOXES[:3], f"{BOXES[3]}@dog", *points)
    assert status == 0
    report = json.loads(out)
    assert [one["name"] for one in report["objects"]] == ["1", "dog"]
    assert report["objects"][1]["prompts"] == {
        "points": [[5, 5]], "labels": [0], "box": list(RIGHT),
    }  # fmt: skip
    assert not {"masks", "prompts"} & set(report)
    wanted = alone(tiny_folder, points=[[5, 5]], labels=[0], box=RIGHT, multimask=True)
    boxes = [mask["box"] for mask in report["objects"][1]["masks"]]
    assert boxes == [bounding_box(mask) for mask in wanted.masks]


def test_multimask_logits_and_overlay_of_several_objects(run, here, tiny_folder):
    names = ("--point", "20,30@a", "--point", "90,30@b")
    files = ("--mask", "m.png", "--save-logits", "l.npy", "-o", "o.png")
    status, out, _ = run("dog.png", "--multimask", *names, *files)
    masks = [f"m-{name}_{i}.png" for name in "ab" for i in range(3)]
    assert status == 0
    assert out.splitlines()[6:] == ["o.png", *masks, "l-a.npy", "l-b.npy"]
    wanted = alone(tiny_folder, points=[[90, 30]], labels=[1], multimask=True)
    np.testing.assert_allclose(np.load("l-b.npy"), wanted.low_res_masks, atol=1e-5)
    drawn = np.asarray(Image.open("o.png")).astype(int)
    assert drawn.shape == RGB.shape
    for x, (strong, weak) in ((26, (0, 1)), (96, (2, 0))):
        colour = drawn[26:34, x : x + 2].mean(axis=(0, 1)) - RGB[26:34, x : x + 2].mean(axis=(0, 1))
        assert colour[strong] > colour[weak] + 30, "pink is red, the second blue"
    assert run("dog.png", "--point", "20,30", "--mask-input", "l-a.npy")[0] == 2
    np.save("one.npy", np.load("l-a.npy")[0])
    assert run("dog.png", "--point", "20,30", "--mask-input", "one.npy")[0] == 0


def test_a_detector_and_a_network_of_drawn_prompts_take_several_objects(run, tmp_path):
    Image.fromarray(RGB[:, :60]).save("small.png")
    for make in (build_detector, build_drawn):
        bundle = tmp_path / make.__name__
        make(bundle)
        boxes = ("--box", "1,1,59,59@b", "--box", "9,19,29,39@a")
        status, out, err = run("small.png", "--json", *boxes, bundle=bundle)
        assert (status, err) == (0, "")
        segmenter = open_segmenter(open_bundle(bundle))
        segmenter.set_image("small.png")
        sets = (Prompts(box=(1, 1, 59, 59)), Prompts(box=(9, 19, 29, 39)))
        wanted = [int(masks.masks.sum()) for masks in segmenter.predict_many(sets)]
        found = json.loads(out)["objects"]
        assert [one["name"] for one in found] == ["b", "a"]
        assert [one["masks"][0]["area"] for one in found] == wanted
        assert wanted[0] != wanted[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*BOXES, "--point", "4,4"), "whose is a point without a name"),
        ((*BOXES, "--mask-input", "l.npy"), "belongs to one object"),
        (("--box", "1,1,9,9@a/b"), "NAME is up to 40 letters"),
        (("--point", "4,4@"), "NAME is up to 40 letters"),
        (("--box", "1,1,9,9", "--mask", "a.png", "--mask", "b.png"), "--mask: was given twice"),
        (("--point", "4,4", "--multimask", "--multimask"), "--multimask: was given twice"),
        (("--point", "-5,3"), "the point -5,3 is outside the image"),
        (("--point=-5,3",), "the point -5,3 is outside the image"),
        (("--box", "-50,3,-9,9"), "the box -50,3,-9,9 is outside the image"),
        (("--point", "60,30", "--normalized"), "shares of the picture from 0 to 1, not 60"),
        (("--point", "4,4", "--range", "9,3"), "LOW should be less than HIGH"),
        (("--point", "4,4", "--range", "full"), "should be auto or LOW,HIGH"),
        (("--point", "4,4", "--range", "0,4095"), "dog.png has 8 bits: leave out --range"),
        (("--point", "4,4", "--max-pixels", "7199"), "--max-pixels 7200 reads it"),
        (("--point", "4,4", "--max-pixels", "many"), "whole number from 1"),
        (("--point", "4,4", "--mask", "m.jpg"), "JPEG would change it; end it in .png"),
        (("--point", "4,4", "-o", "o.ico"), "format of colour pictures"),
        (("--point", "4,4", "--mask-input", "dog.jpg"), "dog.jpg is missing"),
    ],
)
def test_a_wrong_request_is_one_line(run, here, arguments, message):
    Image.new("RGB", (3, 3)).save("l.npy", "PNG")
    assert message in refused(run, "dog.png", *arguments)


def test_an_object_never_replaces_the_image_or_another_file(run, here):
    Path("dog.png").rename("m-1.png")
    assert "different files" in refused(run, "m-1.png", *BOXES, "--mask", "m.png")
    both = ("-o", "o-2.png", "--mask", "o.png")
    assert "different files" in refused(run, "m-1.png", *BOXES, *both)
    Path("m-1.png").rename("m_2.png")
    status, _, err = run("m_2.png", "--point", "9,9", "--multimask", "--mask", "m.png")
    assert (status, "would replace the IMAGE" in err) == (2, True)
    np.testing.assert_array_equal(np.asarray(Image.open("m_2.png")), RGB)


def test_a_box_of_a_detector_is_cut_to_the_image_and_told_beyond_a_pixel(run, tiny_folder):
    status, out, err = run("dog.png", "--box", "-0.4,10.2,120.3,59.9", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["prompts"]["box"] == [0, 10.2, 120, 59.9]
    status, _, err = run("dog.png", "--box=-40,10,60,99", "--json")
    assert status == 0
    assert err == "sam-run: the box -40,10,60,99 was cut to the image: 0,10,60,60\n"
    assert run("dog.png", "--point", "-0.4,60.9", "--json")[::2] == (0, "")


def test_shares_get_a_hint_or_are_taken(run, tiny_folder):
    status, _, err = run("dog.png", "--point", "0.5,0.5", "--json")
    assert status == 0
    assert err.startswith("sam-run: every coordinate is between 0 and 1")
    assert "--normalized" in err
    status, out, err = run("dog.png", "--point", "0.5,0.5", "--normalized", "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report["prompts"]["points"] == [[60, 30]]
    wanted = alone(tiny_folder, points=[[60, 30]], labels=[1]).masks[0]
    assert report["masks"][0]["area"] == int(wanted.sum())


def test_a_picture_of_12_bits_gives_the_masks_of_8_and_a_word(run, here):
    grey = RGB[..., 0]
    Image.fromarray(grey).save("8.png")
    Image.fromarray(grey.astype(np.uint16) * 16).save("12.png")
    for name in ("8", "12"):
        status, _, err = run(f"{name}.png", "--point", "40,30", "--save-logits", f"{name}.npy")
        assert status == 0
    assert err == (
        "sam-run: 12.png has 16 bits: the range 0 to 4095 was scaled to 8 bits; "
        "--range LOW,HIGH takes another\n"
    )
    np.testing.assert_allclose(np.load("8.npy"), np.load("12.npy"), atol=2e-3)
    status, _, err = run("12.png", "--point", "40,30", "--json", "--range", "0,65535")
    assert (status, "0 to 65535" in err) == (0, True)


def test_a_large_jpeg_is_decoded_smaller_and_its_masks_are_full_size(run, here):
    Image.fromarray(RGB).resize((1200, 600)).save("large.jpg")
    prompt = ("--point", "400,300", "--save-logits", "l.npy")
    assert run("large.jpg", *prompt, "--mask", "whole.png")[0] == 0
    whole = np.load("l.npy")
    status, _, err = run("large.jpg", *prompt, "--mask", "m.png", "-o", "o.png",
                         "--max-pixels", "200000")  # fmt: skip
    assert status == 0
    assert "has 1200 x 600 pixels and was decoded at 600 x 300" in err
    assert Image.open("o.png").size == (600, 300)
    mask, full = (np.asarray(Image.open(name)) > 0 for name in ("m.png", "whole.png"))
    assert mask.shape == (600, 1200)
    np.testing.assert_allclose(np.load("l.npy"), whole, atol=0.01)
    assert (mask & full).sum() > 0.99 * (mask | full).sum()
    drawn = np.asarray(Image.open("o.png")).astype(int)
    assert drawn[148:152, 198:202, 1].mean() > 120, "the click is where it was meant"


def test_a_drawn_mask_refines(run, here, tiny_folder):
    drawn = np.zeros((30, 60), np.uint8)
    drawn[5:20, 10:30] = 255
    Image.fromarray(drawn).save("drawn.png")
    more = ("--mask-input", "drawn.png", "--save-logits", "l.npy", "--json")
    status, out, err = run("dog.png", "--point", "40,30", *more)
    assert status == 0
    assert err == "sam-run: drawn.png is taken as a drawn mask, 16.7% of it inside (light)\n"
    assert json.loads(out)["prompts"]["mask_input"] == "drawn.png"
    wanted = alone(tiny_folder, points=[[40, 30]], labels=[1]).low_res_masks
    difference = np.load("l.npy") - wanted  # the tiny decoder adds a tenth of the mask prompt
    assert difference[0, 4, 8] == pytest.approx(1, abs=1e-4)
    assert difference[0, 14, 8] == pytest.approx(-1, abs=1e-4)
    assert difference[0, 30, 30] == pytest.approx(-1, abs=1e-4)
