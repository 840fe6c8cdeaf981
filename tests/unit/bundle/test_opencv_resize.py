"""Against stored answers of OpenCV 5.0.0's `cv2.resize(..., INTER_LINEAR)`."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from exporter.bundle.opencv_resize import opencv_bilinear
from exporter.bundle.preprocess import image_input
from exporter.bundle.rules import Preprocess
from tests.conformance import fill

SMALL = np.array([[[0, 10], [255, 20], [7, 90]], [[31, 200], [90, 0], [128, 254]]], np.uint8)

RULE = Preprocess(
    resize="letterbox",
    size=64,
    interpolation="opencv_bilinear",
    pad_value=(114.0, 114.0, 114.0),
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
)


def test_a_small_picture_pixel_by_pixel():
    expected = [
        [[0, 10], [102, 14], [255, 20], [106, 62], [7, 90]],
        [[16, 105], [78, 67], [173, 10], [109, 107], [68, 172]],
        [[31, 200], [55, 120], [90, 0], [113, 152], [128, 254]],
    ]
    assert opencv_bilinear(SMALL, 5, 3).tolist() == expected


@pytest.mark.parametrize(
    ("old", "new", "digest"),
    [
        ((72, 96), (77, 102), "8bc137f443b9d984"),
        ((90, 61), (60, 41), "505863d228949c02"),
        ((128, 96), (64, 48), "b37e2f504fdf17b9"),
        ((37, 53), (70, 101), "7847af13fa02bb66"),
        ((5, 7), (64, 90), "4eaf708f6dba6cb3"),
        ((200, 300), (19, 28), "a3a38019a87281a1"),
        ((40, 40), (40, 40), "65b718ed2153d5c0"),
    ],
)
def test_every_byte_is_opencvs(old, new, digest):
    """Larger, smaller, exactly half, far larger and smaller, and the same."""
    made = opencv_bilinear(fill.picture(sum(old), *old), new[1], new[0])
    assert made.shape == (*new, 3)
    assert hashlib.sha256(made.tobytes()).hexdigest().startswith(digest)


def test_a_letterbox_is_grey_on_both_sides():
    rgb = fill.picture(1, 30, 64)
    image, frame = image_input(rgb, RULE)
    assert (frame.resized, frame.offset) == ((64, 30), (0, 17))
    np.testing.assert_array_equal(image[0, :, 17:47], rgb.transpose(2, 0, 1))
    assert (image[0, :, :17] == 114).all()
    assert (image[0, :, 47:] == 114).all()


@pytest.mark.parametrize(
    ("width", "height", "resized", "offset"),
    [
        (100, 49, (64, 31), (0, 16)),  # 31.36 rows; 33 of padding, the smaller half above
        (31, 100, (20, 64), (22, 0)),
        (128, 65, (64, 32), (0, 16)),  # 32.5 rows: a half to even
        (64, 64, (64, 64), (0, 0)),
        (3000, 2, (64, 1), (0, 31)),  # never nothing
    ],
)
def test_where_an_image_lies_in_a_letterbox(width, height, resized, offset):
    _, frame = image_input(np.zeros((height, width, 3), np.uint8), RULE)
    assert (frame.resized, frame.offset) == (resized, offset)


def test_a_point_moves_with_the_letterbox():
    _, frame = image_input(np.zeros((30, 60, 3), np.uint8), RULE)
    np.testing.assert_allclose(frame.to_input(np.array([[30.0, 0.0]])), [[32, 16]])
