"""Pictures of the user's, prepared for calibration as an app would prepare them."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.preprocess import fit, image_input, seen_frame
from exporter.bundle.rules import LABELS, PromptRule
from exporter.errors import ImageError, PromptError, RequestError
from exporter.variants import load_variant
from runtimes.calibration_pictures import Work, prepare
from runtimes.pictures.reading import read_picture

RULE = load_variant("demo").preprocess
SLOTS = PromptRule(1, 4, LABELS, pad_without_box=True)


@pytest.fixture
def work(tmp_path):
    """Make the work of some pictures (name -> image, or bytes) and prompts."""

    def make(pictures, prompts=None, **changes):
        (tmp_path / "out").mkdir()
        for name, image in pictures.items():
            if isinstance(image, bytes):
                (tmp_path / name).write_bytes(image)
            else:
                image.save(tmp_path / name, **image.info.get("save", {}))
        path = tmp_path / "prompts.json"
        if prompts is not None:
            path.write_text(json.dumps(prompts), "utf-8")
        made = Work(
            tuple(str(tmp_path / name) for name in pictures),
            "" if prompts is None else str(path),
            str(tmp_path / "out"),
            RULE,
            SLOTS,
            None,
        )
        return dataclasses.replace(made, **changes)

    return make


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def turned(width, height):
    image = noise(width, height)
    exif = image.getexif()
    exif[0x0112] = 6
    image.info["save"] = {"exif": exif}
    return image


@pytest.mark.parametrize("image", [noise(300, 200), noise(101, 347), turned(300, 200)])
def test_a_picture_is_fitted_as_the_variant_says(work, image):
    given = work({"a.png": image})
    (row,) = prepare(given)["pictures"]
    picture = read_picture(Path(given.pictures[0]))
    with np.load(row["file"]) as arrays:
        np.testing.assert_array_equal(arrays["image"], image_input(picture.rgb, RULE)[0])
    assert tuple(row["size"]) == picture.size
    assert row["flat"] is False


def test_sixteen_bits_are_scaled_by_the_stated_rule(work):
    deep = np.linspace(1000, 30_000, 64 * 64).reshape(64, 64).astype(np.uint16)
    made = prepare(work({"deep.png": Image.fromarray(deep)}))
    (note,) = made["notes"]
    assert "16 bits: the range 0 to 65535" in note
    assert "--range" not in note
    with np.load(made["pictures"][0]["file"]) as arrays:
        assert arrays["image"].max() == pytest.approx(30_000 / 65_535 * 255, abs=1)


def test_prompts_reach_the_same_place_of_the_input(work):
    given = {
        "a.png": [{"points": [[600, 300]], "box": [50, 60, 900, 380]}, {"points": [[1, 2, 0]]}]
    }
    (row,) = prepare(work({"a.png": noise(1000, 400)}, given))["pictures"]
    whole, seen = fit(1000, 400, RULE), seen_frame(1000, 400, RULE)
    (x, y), box = row["prompts"][0]["points"][0], row["prompts"][0]["box"]
    for before, after in [((600, 300), (x, y)), ((50, 60), box[:2]), ((900, 380), box[2:])]:
        expected = whole.to_input(np.array(before, np.float64))
        np.testing.assert_allclose(seen.to_input(np.array(after, np.float64)), expected, atol=1e-3)
    assert row["prompts"][1]["labels"] == (0,)


def test_a_frame_of_what_is_seen_is_no_larger_than_the_input():
    frame = seen_frame(4000, 1000, RULE)
    assert frame.original == (RULE.size, RULE.size // 4)
    assert frame.resized == fit(4000, 1000, RULE).resized
    assert seen_frame(90, 50, RULE) == fit(90, 50, RULE)
    large = load_variant("mobile_sam").preprocess
    assert seen_frame(4000, 1000, large).original == (512, 128)
    assert seen_frame(4000, 1000, large).resized == (1024, 256)


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([{"points": [[500, 20]]}], "is outside the image"),
        ([{"box": [20, 20, 10, 30]}], "is empty"),
        ([{"points": [[1, 2]] * 4}], "take 5 slots"),
    ],
)
def test_a_prompt_that_the_network_cannot_take_is_named(work, objects, said):
    with pytest.raises(PromptError, match=rf"prompts\.json: a\.png\[0\]: .*{said}"):
        prepare(work({"a.png": noise(90, 60)}, {"a.png": objects}))


def test_prompts_that_look_like_shares_or_were_cut_are_said(work):
    prompts = {"a.png": [{"points": [[0.5, 0.5]]}], "b.png": [{"box": [-40, 5, 50, 50]}]}
    notes = prepare(work({"a.png": noise(90, 60), "b.png": noise(90, 60)}, prompts))["notes"]
    assert any("a.png" in note and "taken as pixels" in note for note in notes)
    assert any("b.png" in note and "was cut" in note for note in notes)


def test_a_network_without_prompts_says_that_it_reads_none(work):
    given = work({"a.png": noise(90, 60)}, {"a.png": [{"points": [[900, 900]]}]}, slots=None)
    made = prepare(given)
    assert "takes no prompts" in made["notes"][0]
    assert made["pictures"][0]["prompts"] == []


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("a.jpg", b"", ImageError, "empty, not a picture"),
        ("notes.txt", b"hello", ImageError, "is text, not a picture"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ImageError, "is damaged"),
        ("a.png", noise(31, 400), RequestError, "is 31 x 400: a side should have 32 pixels"),
    ],
)
def test_a_picture_that_cannot_be_used_is_named(work, name, content, error, said):
    with pytest.raises(error, match=said):
        prepare(work({name: content}))


def test_a_bomb_is_refused_before_it_is_decoded(work):
    """A PNG whose head alone says 30,000 x 30,000."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + head))
    with pytest.raises(ImageError, match="is too large: 900 megapixels") as caught:
        prepare(work({"bomb.png": b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT"}))
    assert "--max-pixels" not in str(caught.value)


def test_one_colour_with_noise_is_flat(work):
    grey = Image.new("RGB", (64, 64), (120, 120, 120))
    grey.putpixel((3, 3), (125, 120, 120))
    rows = prepare(work({"a.png": grey, "b.png": noise(64, 64)}))["pictures"]
    assert [row["flat"] for row in rows] == [True, False]


def test_as_a_process(work):
    given = work({"a.png": noise(64, 48)}, {"a.png": [{"box": [1, 2, 30, 40]}]})
    ran = subprocess.run(
        [sys.executable, "-m", "runtimes.calibration_pictures"],
        input=json.dumps(dataclasses.asdict(given)),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(ran.stdout)
    assert answer["pictures"][0]["prompts"] == [
        {"points": [], "labels": [], "box": [1.0, 2.0, 30.0, 40.0]}
    ]
