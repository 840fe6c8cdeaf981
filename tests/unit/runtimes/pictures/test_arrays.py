"""`set_image` takes what people hold, or says by name why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exporter.errors import ImageError
from runtimes.pictures.arrays import as_picture
from runtimes.pictures.reading import MAX_SIDE

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
FIRST = np.ascontiguousarray(RGB.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "given",
    [
        RGB,
        RGB.tolist(),
        np.asfortranarray(RGB),
        np.dstack([RGB, RGB[..., 0]]),
        FIRST,
        RGB / 255,
        (RGB / 255).astype(np.float32),
        (FIRST / 255).astype(np.float16),
        RGB.astype(np.float32),
        RGB.astype(np.int64),
        RGB.astype(">u2"),
        torch.from_numpy(FIRST),
        torch.from_numpy(FIRST / 255),
        Image.fromarray(RGB),
        Image.fromarray(np.dstack([RGB, np.full((20, 30), 255, np.uint8)])),
    ],
    ids=lambda given: f"{type(given).__name__} {getattr(given, 'dtype', '')}",
)
def test_rgb_in_any_form(given):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = as_picture(given)
    assert picture.rgb.dtype == np.uint8
    np.testing.assert_array_equal(picture.rgb, RGB)
    assert (picture.size, picture.notes) == ((30, 20), ())


@pytest.mark.parametrize("form", [str, Path])
def test_a_path_is_read(here, form):
    Image.fromarray(RGB).save("p.png")
    np.testing.assert_array_equal(as_picture(form("p.png")).rgb, RGB)
    np.testing.assert_array_equal(as_picture(Image.open("p.png")).rgb, RGB)


@pytest.mark.parametrize(
    ("given", "grey"),
    [
        (RGB[..., 0], RGB[..., 0]),
        (RGB[..., :1], RGB[..., 0]),
        (RGB[None, ..., 0], RGB[..., 0]),
        (RGB[..., 0] > 100, (RGB[..., 0] > 100) * 255),
        (RGB[..., 0] / 255, RGB[..., 0]),
        (Image.fromarray(RGB[..., 0]), RGB[..., 0]),
        (Image.fromarray(RGB[..., 0]).convert("1", dither=0), (RGB[..., 0] > 127) * 255),
    ],
)
def test_grey_in_any_form(given, grey):
    np.testing.assert_array_equal(as_picture(given).rgb, np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    "given",
    [
        RGB.astype(np.uint16) * 16,
        RGB.astype(np.int32) * 16,
        torch.from_numpy(RGB.astype(np.int64) * 16),
    ],
)
def test_wider_integers_are_scaled_and_it_is_said(given):
    picture = as_picture(given)
    np.testing.assert_allclose(picture.rgb, RGB, atol=1)
    assert "the range 0 to 4095 was scaled to 8 bits" in picture.notes[0]
    deep = Image.fromarray(RGB[..., 0].astype(np.uint16) * 16)
    assert as_picture(deep).notes == (
        "the picture has 16 bits: the range 0 to 4095 was scaled to 8 bits",
    )


def test_three_by_three_is_channels_last_and_the_array_is_not_changed():
    small = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(as_picture(small).rgb, small)
    picture = np.full((4, 5, 3), 0.5)
    as_picture(picture)
    assert (picture == 0.5).all()


class Odd:
    """An array of another library that cannot be copied to the host."""

    def __array__(self, *arguments, **options):
        raise RuntimeError("on another device")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "cv2.imread gives None for a file it cannot read"),
        (b"bytes", r"bytes is no picture: if it is .* give PIL.Image.open\(io.BytesIO"),
        (3, "int is no picture"),
        ({}, "dict is no picture"),
        (io.BytesIO(), "_io.BytesIO is no picture: of an open file, give its path, or PIL"),
        (memoryview(b"bytes"), "give PIL.Image.open"),
        (np.ma.masked_equal(np.zeros((4, 5)), 0), r"a masked array has .* masked.filled"),
        ("https://example.com/a.png", "is an address, not a path: download https://"),
        (Odd(), "Odd cannot be taken as it is: give a numpy array .on another device"),
        (torch.zeros(3, 4, 5, requires_grad=True), r"give tensor.detach\(\).float\(\).cpu\(\)"),
        (torch.zeros(3, 4, 5, device="meta"), "torch.Tensor cannot be taken as it is"),
        (torch.zeros(3, 4, 5, dtype=torch.bfloat16), r": give tensor.detach\(\).float"),
        ([[1, 2], [3]], "list cannot be taken as it is"),
        ("no.png", "no.png is missing"),
        ("", "is not a file"),
        ("a\0b", "missing"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((5, 0), np.uint8), "no pixels"),
        (Image.new("RGB", (0, 5)), "no pixels"),
        (np.zeros(5, np.uint8), "array of .5,. is no picture"),
        (np.zeros((1, 20, 30, 3), np.uint8), r"take \[0\] of it"),
        (np.zeros((2, 20, 30, 3), np.uint8), "is no picture"),
        (np.zeros((20, 30, 2), np.uint8), "3 or 4 channels last"),
        (np.zeros((20, 30, 5), np.uint8), "is no picture"),
        (np.full((4, 5), np.nan), "not finite"),
        (np.full((4, 5, 3), np.inf), "not finite"),
        (np.full((4, 5, 3), -0.5), "before it was normalised"),
        (np.full((4, 5), -3), "negative values .from -3 to -3"),
        (np.full((4, 5), 300.0), "0..1 or 0..255, not up to 300"),
        (np.zeros((4, 5), complex), "numbers, not complex128"),
        (np.array([["a"]]), "numbers, not <U1"),
        (np.array([[object()]]), "numbers, not object"),
        (np.zeros((4, 5), "M8[s]"), "numbers, not datetime64"),
        (np.zeros((MAX_SIDE + 1, 1), np.uint8), "a side may have 65535 pixels"),
    ],
)
def test_what_is_no_picture_is_named(here, given, message):
    with pytest.raises(ImageError, match=message):
        as_picture(given)


def test_a_damaged_file_that_the_caller_opened_is_ours_to_name(here):
    Image.fromarray(RGB).save("p.png")
    Path("p.png").write_bytes(Path("p.png").read_bytes()[:900])
    with pytest.raises(ImageError, match="cannot be decoded: image file is truncated"):
        as_picture(Image.open("p.png"))
