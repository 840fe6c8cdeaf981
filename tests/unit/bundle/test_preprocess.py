from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from exporter.bundle.preprocess import (
    Frame,
    binarise,
    fit,
    image_input,
    resized_size,
    upscale,
    upscaled_masks,
)
from exporter.bundle.rules import MaskRule, Preprocess
from exporter.errors import ImageError

RULE = Preprocess(
    "longest_side", 64, "pillow_bilinear", (123.675, 116.28, 103.53), (0, 0, 0), (1, 1, 1)
)
STRETCH = replace(RULE, resize="stretch")
SIZES = [(64, 64), (1, 1), (1000, 3), (3, 1000), (640, 427), (427, 640), (65, 64), (30, 17)]


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((64, 64), (64, 64)),
        ((128, 64), (64, 32)),
        ((1, 1), (64, 64)),
        ((1000, 3), (64, 1)),
        ((3, 1000), (1, 64)),
        ((100, 50), (64, 32)),
        ((100, 99), (64, 63)),  # 63.36 down
        ((100, 93), (64, 60)),  # 59.52 up
        ((128, 65), (64, 33)),  # 32.5 up: half goes up, not to even
        ((128, 61), (64, 31)),  # 30.5 up
    ],
)
def test_the_longest_side_fits_and_the_other_rounds_half_up(size, resized):
    assert fit(*size, RULE) == Frame(size, resized, 64)


@pytest.mark.parametrize("size", SIZES)
def test_stretch_fills_the_square(size):
    assert fit(*size, STRETCH).resized == (64, 64)


def rows_first(rgb, size, how):
    """The order of Pillow up to 12, and so of the published code; 13 has one of its own."""
    rows = Image.fromarray(rgb).resize((size[0], rgb.shape[0]), how)
    return np.asarray(rows.resize(size, how))


@pytest.mark.parametrize("rule", [RULE, STRETCH])
@pytest.mark.parametrize("size", SIZES)
def test_the_image_is_pillows_resize_with_padding_right_and_below(size, rule):
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, frame = image_input(rgb, rule)
    assert image.shape == (1, 3, 64, 64)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    width, height = frame.resized
    wanted = rows_first(rgb, (width, height), Image.Resampling.BILINEAR)
    pixels = image[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(pixels[:height, :width], wanted.astype(np.float32))
    padding = np.ones((64, 64), bool)
    padding[:height, :width] = False
    assert (pixels[padding] == np.array(RULE.pad_value, np.float32)).all()


def test_an_image_of_the_right_size_is_untouched():
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    image, _ = image_input(rgb, RULE)
    np.testing.assert_array_equal(image[0, 0], rgb[..., 0])
    np.testing.assert_array_equal(image[0, 2], rgb[..., 2])


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
)
def test_anything_but_rgb_bytes_is_refused(rgb):
    with pytest.raises(ImageError, match=r"array \(height, width, 3\) of uint8"):
        image_input(rgb, RULE)


def test_points_move_by_the_ratio_of_the_sizes():
    frame = Frame((128, 65), (64, 33), 64)
    moved = frame.to_input(np.array([[0.0, 0.0], [128.0, 65.0], [10.0, 65 / 33]]))
    np.testing.assert_allclose(moved, [[0, 0], [64, 33], [5, 1]], rtol=1e-6)
    assert moved.dtype == np.float32


def test_to_input_keeps_leading_axes():
    frame = Frame((10, 10), (20, 20), 20)
    assert frame.to_input(np.ones((2, 5, 2))).shape == (2, 5, 2)


def published(low_res, frame):
    """What the published predictors do: to S x S, crop, to the original size."""
    square = functional.interpolate(
        torch.from_numpy(low_res)[None], (frame.size,) * 2, mode="bilinear", align_corners=False
    )
    cropped = square[..., : frame.resized[1], : frame.resized[0]]
    size = (frame.original[1], frame.original[0])
    full = functional.interpolate(cropped, size, mode="bilinear", align_corners=False)
    return full[0].numpy()


def test_the_resized_size_is_width_and_height_in_the_input():
    found = resized_size(fit(100, 93, RULE))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[64, 60]])
    np.testing.assert_array_equal(resized_size(fit(93, 100, STRETCH)), [[64, 64]])


@pytest.mark.parametrize("rule", [RULE, STRETCH])
@pytest.mark.parametrize("size", SIZES)
def test_upscale_is_the_published_two_interpolations(size, rule):
    frame = fit(*size, rule)
    low_res = np.random.default_rng(2).standard_normal((3, 16, 16)).astype(np.float32) * 10
    full = upscale(low_res, frame)
    assert full.shape == (3, size[1], size[0])
    assert full.dtype == np.float32
    # Logits reach 40, and torch finds the positions in float32: 5e-6 of the range.
    np.testing.assert_allclose(full, published(low_res, frame), atol=2e-4)


def test_upscale_worked_out_by_hand():
    """Two pixels 0 and 4 become four with half-pixel centres: 0, 1, 3, 4."""
    frame = Frame((4, 1), (4, 4), 4)
    full = upscale(np.array([[[0, 4], [0, 4]]], np.float32), frame)
    np.testing.assert_allclose(full, [[[0, 1, 3, 4]]], atol=1e-6)


def test_upscale_leaves_the_padding_out():
    low_res = np.full((1, 4, 4), -7, np.float32)
    low_res[:, :, :2] = 5
    frame = Frame((20, 40), (8, 16), 16)
    full = upscale(low_res, frame)
    assert full.shape == (1, 40, 20)
    # The seam to the padding shows at the right edge alone.
    np.testing.assert_allclose(full[0, :, :14], 5, atol=1e-5)
    assert full[0, :, -1].max() < 4.9


def test_a_mask_is_above_the_threshold_and_not_at_it():
    logits = np.array([[[-1.0, 0.0, 0.1, 2.0]]], np.float32)
    rule = MaskRule(0.0, 0, (1, 2, 3), "bilinear", 4)
    assert binarise(logits, rule).tolist() == [[[False, False, True, True]]]
    assert binarise(logits, replace(rule, threshold=1.0)).tolist() == [
        [[False, False, False, True]]
    ]


@pytest.mark.parametrize("size", [*SIZES, (200, 150)])
def test_float_interpolation_is_torchs_antialiased_one_without_rounding(size):
    rule = replace(STRETCH, interpolation="float_bilinear")
    rgb = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, _ = image_input(rgb, rule)
    planes = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    wanted = functional.interpolate(planes, (64, 64), mode="bilinear", antialias=True)
    np.testing.assert_allclose(image, wanted.numpy(), atol=1e-3)


@pytest.mark.parametrize("size", [*SIZES, (200, 150)])
def test_plain_interpolation_is_torchs_without_antialiasing(size):
    rgb = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, _ = image_input(rgb, replace(STRETCH, interpolation="float_bilinear_plain"))
    planes = torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32))
    wanted = functional.interpolate(planes, (64, 64), mode="bilinear", align_corners=False)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, wanted.numpy(), atol=1e-3)
    rounded, _ = image_input(rgb, replace(STRETCH, interpolation="bilinear_plain"))
    np.testing.assert_array_equal(rounded, np.rint(image))


@pytest.mark.parametrize("size", SIZES)
def test_a_stretched_mask_is_resized_once(size):
    logits = np.random.default_rng(2).normal(size=(2, 16, 16)).astype(np.float32)
    wanted = functional.interpolate(
        torch.from_numpy(logits)[None], (size[1], size[0]), mode="bilinear"
    )[0]
    ours = upscale(logits, fit(*size, STRETCH), "bilinear_once")
    np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [*SIZES, (9, 7), (5, 200)])
def test_a_mask_is_resized_once_by_cubic_convolution(size):
    logits = np.random.default_rng(2).normal(size=(2, 16, 16)).astype(np.float32)
    wanted = functional.interpolate(
        torch.from_numpy(logits)[None], (size[1], size[0]), mode="bicubic", align_corners=False
    )[0]
    ours = upscale(logits, fit(*size, STRETCH), "bicubic_once")
    np.testing.assert_allclose(ours, wanted.numpy(), atol=1e-5)


TRUNCATE = replace(RULE, rounding="truncate")


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((64, 64), (64, 64)),
        ((100, 93), (64, 59)),  # 59.52
        ((93, 100), (59, 64)),
        ((128, 65), (64, 32)),  # 32.5
        ((1000, 3), (64, 1)),
        ((3, 1000), (1, 64)),
    ],
)
def test_truncation(size, resized):
    assert fit(*size, TRUNCATE) == Frame(size, resized, 64)


def test_truncation_follows_the_published_order_of_operations():
    """1024 / (1024 / 792) is just under 792, and 1024 * (792 / 1024) is not."""
    full = replace(TRUNCATE, size=1024)
    assert fit(1024, 792, full).resized == (1024, 791)
    assert fit(792, 1024, full).resized == (792, 1024)


@pytest.mark.parametrize("size", SIZES)
def test_bicubic_is_pillows(size):
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, frame = image_input(rgb, replace(RULE, interpolation="pillow_bicubic"))
    width, height = frame.resized
    wanted = rows_first(rgb, (width, height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(image[0, :, :height, :width], wanted.transpose(2, 0, 1))


def test_one_scale_moves_a_prompt_by_the_longer_side_alone():
    each = fit(100, 99, TRUNCATE)
    one = fit(100, 99, replace(TRUNCATE, prompt_scale="longest_side"))
    assert each.resized == one.resized == (64, 63)
    xy = np.array([[50.0, 99.0]])
    np.testing.assert_allclose(each.to_input(xy), [[32, 63]])
    np.testing.assert_allclose(one.to_input(xy), [[32, 63.36]], rtol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (100, 93), (93, 100), (640, 427), (1000, 3)])
def test_cropped_logits_are_interpolated_once(size):
    logits = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    ours = upscale(logits, fit(*size, TRUNCATE), "crop_bilinear")
    width, height = size
    cols = 16 if width >= height else int(16 * width / height)
    rows = 16 if height > width else max(1, int(16 * height / width))
    cropped = torch.from_numpy(logits)[None, :, :rows, :cols]
    theirs = functional.interpolate(cropped, (height, width), mode="bilinear")[0]
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("how", ["bilinear", "bilinear_once", "bicubic_once", "crop_bilinear"])
def test_masks_of_a_large_picture_are_made_in_bands_alike(how, monkeypatch):
    logits = np.random.default_rng(4).standard_normal((2, 32, 32)).astype(np.float32)
    square = (64, 64) if how.endswith("once") else (64, 48)
    frame, rule = Frame((400, 300), square, 64), MaskRule(0.0, 0, (1, 2), how, 32)
    whole = upscale(logits, frame, how)
    np.testing.assert_array_equal(upscaled_masks(logits, frame, rule), whole > 0)
    for band in (1, 50_000, 2 * 400 * 299):
        monkeypatch.setattr("exporter.bundle.preprocess._BAND", band)
        found = upscaled_masks(logits, frame, rule)
        # A product of fewer rows may round otherwise; a pixel at the threshold itself may flip.
        assert ((found == (whole > 0)) | (np.abs(whole) < 1e-5)).all()


def test_a_smaller_decoding_lies_where_the_picture_lies():
    rule = Preprocess("longest_side", 64, "pillow_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3)
    smooth = np.asarray(Image.linear_gradient("L").resize((600, 402)).convert("RGB"))
    whole, frame = image_input(smooth, rule)
    half, other = image_input(np.asarray(Image.fromarray(smooth).reduce(2)), rule, (600, 402))
    assert other == frame
    np.testing.assert_allclose(half, whole, atol=2)
