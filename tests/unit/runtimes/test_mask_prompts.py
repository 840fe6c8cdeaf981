"""A mask prompt from a file: logits, an array or a drawn picture; nothing unsafe is ever loaded."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.preprocess import Frame, Preprocess, fit
from exporter.bundle.rules import MaskRule
from exporter.errors import ImageError, PromptError, RequestError
from runtimes.mask_prompts import as_logits, read_mask_prompt

RULE = MaskRule(0.0, 0, (1, 2, 3), "bilinear", 32)
FRAME = fit(
    120, 60, Preprocess("longest_side", 64, "pillow_bilinear", (0,) * 3, (0,) * 3, (1,) * 3)
)
BAND = np.zeros((60, 120), np.uint8)
BAND[:, 60:] = 1


def prompt(name, frame=FRAME, rule=RULE):
    return read_mask_prompt(Path(name), frame, rule)


@pytest.mark.parametrize(
    "drawn",
    [
        BAND * np.uint8(255),
        BAND,
        BAND * np.uint8(38),
        BAND * np.uint16(65535),
        np.stack([BAND * np.uint8(255)] * 3, axis=-1),
        np.dstack([BAND * 0 + np.uint8(255)] * 3 + [BAND * np.uint8(255)]),
    ],
    ids=["0 and 255", "0 and 1", "a label's colour", "16 bits", "RGB", "white on nothing"],
)
def test_a_drawn_mask_is_inside_where_it_is_light(here, drawn):
    Image.fromarray(drawn).save("m.png")
    given = prompt("m.png")
    assert given.logits.dtype == np.float32
    assert given.logits.shape == (32, 32)
    assert (given.logits[:16, :15] == -10).all()
    assert (given.logits[:16, 17:] == 10).all()
    assert (given.logits[16:] == -10).all(), "the padding is outside"
    assert given.note == "m.png is taken as a drawn mask, 50.0% of it inside (light)"


def test_a_mask_of_another_aspect_is_stretched_and_it_is_said(here):
    Image.fromarray(BAND[:48, 36:84] * np.uint8(255)).save("square.png")
    given = prompt("square.png")
    assert (given.logits[:16, :15] == -10).all()
    assert (given.logits[:16, 17:] == 10).all()
    assert given.note.endswith("its 48 x 48 are stretched over 120 x 60")


@pytest.mark.parametrize(
    ("frame", "upscale", "inside"),
    [
        (Frame((120, 60), (64, 64), 64), "bilinear_once", (slice(0, 32), slice(17, 32))),
        (Frame((120, 60), (64, 32), 64), "crop_bilinear", (slice(0, 16), slice(17, 32))),
        (Frame((120, 60), (64, 32), 64, offset=(0, 16)), "bilinear", (slice(8, 24), slice(17, 32))),
        (Frame((120, 60), (64, 32), 64, Frame((120, 60), (128, 64), 128)), "bilinear",
         (slice(0, 16), slice(17, 32))),
    ],
)  # fmt: skip
def test_it_lies_where_the_picture_lies(here, frame, upscale, inside):
    Image.fromarray(BAND * np.uint8(255)).save("m.png")
    rule = MaskRule(0.0, 0, (1, 2, 3), upscale, 32)
    logits = prompt("m.png", frame, rule).logits
    assert (logits[inside] == 10).all()
    assert (logits == 10).sum() == logits[inside].size


@pytest.mark.parametrize(
    "array",
    [BAND > 0, BAND, BAND[None] * np.int64(255), BAND * 1.0, BAND[None] * np.float16(255)],
)
def test_an_array_of_a_picture_is_a_drawn_mask(here, array):
    np.save("m.npy", array)
    assert (prompt("m.npy").logits[:16, 17:] == 10).all()


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32)])
def test_logits_are_taken_as_they_are(here, shape):
    logits = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.save("l.npy", logits)
    given = prompt("l.npy")
    np.testing.assert_array_equal(given.logits, logits)
    assert given.note == ""


def header(text, version=b"\x01\x00"):
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text


def saved(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


class Evil:
    def __reduce__(self):
        return (Path("executed").touch, ())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.npy", saved(np.array([Evil()]), allow_pickle=True), "holds Python objects, which are"),
        ("m.npy", pickle.dumps(Evil()), "is no array of numpy: --mask-input takes"),
        ("m.npy", b"", "is no array of numpy"),
        ("m.npz", b"PK\3\4", "archive of arrays: save one mask by np.save"),
        ("m.npy", saved(np.zeros((3, 32, 32), np.float32)), "this has 3: keep one of them"),
        ("m.npy", saved(np.zeros((48, 48), np.float32)), r"floats of \(32, 32\), not float32 of"),
        ("m.npy", saved(np.zeros(9, np.uint8)), "is no mask but uint8"),
        ("m.npy", saved(np.zeros((2, 9, 9), np.uint8)), "is no mask but uint8"),
        ("m.npy", saved(np.zeros((0, 9), np.uint8)), "is no mask but uint8"),
        ("m.npy", saved(np.zeros((9, 9), np.uint8)), "is all black"),
        ("m.npy", saved(np.array([["a"]])), "not <U1"),
        ("m.npy", saved(np.zeros((32, 32), np.float32))[:-9], "cut short"),
        ("m.npy", header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 10**9)}\n"),
         "header is no array's"),
        ("m.npy", header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 9)}\n"),
         "too large for a mask"),
        ("m.npy", header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (9999, 9999)}\n"),
         "cut short"),
        ("m.npy", header(b"(" * 9000 + b"\n"), "header is no array's"),
        ("m.npy", header(b" " * 60000 + b"\n"), "header is no array's"),
        ("m.npy", b"\x93NUMPY", "header is no array's"),
        ("m.png", b"text", "is text, not a picture"),
        ("missing.png", None, "missing.png is missing"),
        ("missing.npy", None, "missing.npy is missing"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_in_our_words(here, name, content, message):
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(RequestError, match=message) as error:
        prompt(name)
    assert isinstance(error.value, PromptError | ImageError)
    assert "pickle" not in str(error.value)
    assert "unsafe" not in str(error.value)
    assert not Path("executed").exists()


def test_a_black_picture_is_no_mask(here):
    Image.new("L", (9, 9)).save("m.png")
    with pytest.raises(PromptError, match="is all black: a drawn mask is white inside"):
        prompt("m.png")


class Odd:
    def __array__(self, *arguments, **options):
        raise RuntimeError("on another device")


@pytest.mark.parametrize("mask", ["m.png", Odd(), np.zeros((32, 32), bool), [[1.0]], None])
def test_what_a_python_caller_gives_is_checked(mask):
    with pytest.raises(PromptError, match="mask_input"):
        as_logits(mask, 32)


def test_a_mask_of_floats_is_no_logits():
    mask = np.zeros((32, 32))
    np.testing.assert_array_equal(as_logits(mask, 32), mask)
    mask[3:9] = 1
    with pytest.raises(PromptError, match="holds 0 and 1 alone, so it is a drawn mask"):
        as_logits(mask, 32)
    np.testing.assert_array_equal(as_logits(20 * mask - 10, 32), 20 * mask - 10)


def test_logits_must_be_finite():
    with pytest.raises(PromptError, match="not finite"):
        as_logits(np.full((32, 32), np.nan), 32)
