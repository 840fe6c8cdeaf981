"""Pictures to judge on: objects, prompts made of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from exporter.errors import PromptError, RequestError
from exporter.job import prompt_rule
from exporter.variants import load_variant
from runtimes import judged_pictures
from runtimes.judged_pictures import Work, prepare

DEMO = load_variant("demo")


def work(folder, **changes):
    made = Work(str(folder), ("a.png",), {}, "", False, str(folder), DEMO.preprocess, None, None)
    return replace(made, slots=prompt_rule(DEMO), **changes)


def picture(folder, name="a.png", size=(80, 60), **saved):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(
        folder / name, **saved
    )


def label(folder, size=(80, 60)):
    values = np.zeros((size[1], size[0]), np.uint8)
    values[10:30, 20:60] = 1
    values[40:44, 5:9] = 2
    values[0, 0] = 3  # a speck
    Image.fromarray(values).save(folder / "a_mask.png")
    return values


def test_an_object_is_asked_for_by_every_kind_of_prompt(tmp_path):
    picture(tmp_path)
    values = label(tmp_path)
    (row,) = prepare(work(tmp_path, labels={"a.png": "a_mask.png"}))["pictures"]
    kinds = [(ask["kind"], ask["object"]) for ask in row["asks"]]
    assert kinds == [(kind, at) for at in (0, 1) for kind in ("point", "box", "box_point")]
    point, box, both = (ask["prompts"] for ask in row["asks"][:3])
    assert box["box"] == both["box"] == (20.0, 10.0, 60.0, 30.0)
    ((x, y),) = point["points"]
    assert 25 < x < 55
    assert 15 < y < 25
    with np.load(row["file"]) as arrays:
        bits = np.unpackbits(arrays["objects"][0], count=80 * 60).reshape(60, 80)
        assert arrays["rgb"].shape == (60, 80, 3)
    assert np.array_equal(bits, values == 1)


def test_a_detector_is_asked_by_points_or_boxes_alone(tmp_path):
    picture(tmp_path)
    label(tmp_path)
    asked = replace(work(tmp_path, labels={"a.png": "a_mask.png"}), slots=None)
    (row,) = prepare(asked)["pictures"]
    assert {ask["kind"] for ask in row["asks"]} == {"point", "box"}


def test_clicks_of_ones_own_mean_the_object_below_them(tmp_path):
    picture(tmp_path)
    label(tmp_path)
    given = [
        {"points": [[30, 20]]},
        {"box": [4, 39, 10, 45]},
        {"points": [[70, 50]]},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps({"a.png": given}))
    (row,) = prepare(work(tmp_path, labels={"a.png": "a_mask.png"}, prompts=True))["pictures"]
    own = [ask["object"] for ask in row["asks"] if ask["kind"] == "given"]
    assert own == [0, 1, None]


def test_labels_turn_with_their_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path, "a.jpg", exif=exif)
    values = label(tmp_path)
    asked = work(tmp_path, pictures=("a.jpg",), labels={"a.jpg": "a_mask.png"})
    (row,) = prepare(asked)["pictures"]
    assert row["size"] == (60, 80)
    with np.load(row["file"]) as arrays:
        bits = np.unpackbits(arrays["objects"][0], count=80 * 60).reshape(80, 60)
    assert np.array_equal(bits, np.rot90(values == 1, -1))


def test_a_large_picture_is_shrunk_with_its_objects_and_prompts(tmp_path, monkeypatch):
    monkeypatch.setattr(judged_pictures, "MOST_PIXELS", 40 * 60)
    picture(tmp_path, size=(160, 60))
    values = np.zeros((60, 160), np.uint8)
    values[10:50, 40:120] = 9
    Image.fromarray(values).save(tmp_path / "a_mask.png")
    (tmp_path / "prompts.json").write_text('{"a.png": [{"points": [[80, 30]]}]}')
    (row,) = prepare(work(tmp_path, labels={"a.png": "a_mask.png"}, prompts=True))["pictures"]
    assert row["size"] == (80, 30)
    box = next(ask["prompts"]["box"] for ask in row["asks"] if ask["kind"] == "box")
    assert box == (20.0, 5.0, 60.0, 25.0)
    own = next(ask for ask in row["asks"] if ask["kind"] == "given")
    assert own["prompts"]["points"] == ((40.0, 15.0),)
    assert own["object"] == 0


def test_a_picture_of_many_objects_keeps_the_largest(tmp_path, monkeypatch):
    monkeypatch.setattr(judged_pictures, "MOST_OBJECTS", 1)
    picture(tmp_path)
    label(tmp_path)
    made = prepare(work(tmp_path, labels={"a.png": "a_mask.png"}))
    assert {ask["object"] for ask in made["pictures"][0]["asks"]} == {0}
    assert made["notes"] == ["a.png: the largest 1 of 2 objects are taken"]


def test_what_nothing_is_said_of_is_left_out_and_named(tmp_path):
    picture(tmp_path)
    picture(tmp_path, "b.png")
    label(tmp_path)
    asked = work(tmp_path, pictures=("a.png", "b.png"), labels={"a.png": "a_mask.png"})
    made = prepare(asked)
    assert [row["name"] for row in made["pictures"]] == ["a.png"]
    assert made["notes"] == ["b.png: nothing says what is on it, so it is left out"]


def test_an_empty_label_leaves_nothing_to_ask(tmp_path):
    picture(tmp_path)
    Image.new("L", (80, 60)).save(tmp_path / "a_mask.png")
    with pytest.raises(RequestError, match="no object and no prompt is left to judge on"):
        prepare(work(tmp_path, labels={"a.png": "a_mask.png"}))


def test_a_label_of_another_size_and_a_prompt_outside_are_refused(tmp_path):
    picture(tmp_path)
    label(tmp_path, (80, 61))
    with pytest.raises(RequestError, match=r"is 80 x 61, and its picture 80 x 60"):
        prepare(work(tmp_path, labels={"a.png": "a_mask.png"}))
    (tmp_path / "prompts.json").write_text('{"a.png": [{"points": [[800, 30]]}]}')
    with pytest.raises(PromptError, match=r"prompts\.json: a\.png\[0\]"):
        prepare(work(tmp_path, prompts=True))


def test_coco_of_another_size_is_refused(tmp_path):
    picture(tmp_path)
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 60}],
        "categories": [{"id": 1}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": []}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(data))
    with pytest.raises(RequestError, match=r"annotations\[0\] is in a picture of 60 x 60, and a.p"):
        prepare(work(tmp_path, coco="coco.json"))
