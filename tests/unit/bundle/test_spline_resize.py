"""scikit-image's cubic resize, against what scikit-image 0.26.0 gave (`spline_cubic.npz`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporter.bundle.preprocess import fit, image_input, upscale
from exporter.bundle.rules import Preprocess
from exporter.bundle.spline_resize import spline_cubic

STORED = Path(__file__).with_name("spline_cubic.npz")
BLACK, ONE = (0.0,) * 3, (255.0,) * 3
MEDSAM = Preprocess("stretch", 16, "spline_cubic", BLACK, BLACK, ONE, scale="picture")


@pytest.mark.parametrize("case", range(4))
def test_the_numbers_are_those_of_scikit_image(case):
    with np.load(STORED) as stored:
        picture, expected = stored[f"picture_{case}"], stored[f"resized_{case}"]
    ours = spline_cubic(picture, expected.shape[1], expected.shape[0])
    # Cut off, but for sums that miss a whole number by rounding.
    np.testing.assert_array_equal(ours, np.floor(expected + 1 / 4096))
    assert (np.abs(ours - expected.astype(np.uint8)) <= 1).all()


def test_a_picture_of_the_inputs_size_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    np.testing.assert_array_equal(spline_cubic(picture, 16, 16), picture)


def test_a_flat_picture_stays_flat():
    picture = np.full((50, 7, 3), 201, np.uint8)
    assert (spline_cubic(picture, 16, 16) == 201).all()


def test_each_picture_is_scaled_by_its_own_range():
    picture = np.random.default_rng(0).integers(60, 91, (16, 16, 3), np.uint8)
    image, _frame = image_input(picture, MEDSAM)
    low, high = float(picture.min()), float(picture.max())
    wanted = (picture - low) * 255 / (high - low)
    np.testing.assert_allclose(image[0], wanted.transpose(2, 0, 1), atol=1e-4)
    flat, _frame = image_input(np.full((9, 9, 3), 77, np.uint8), MEDSAM)
    assert (flat == 0).all()


def test_grey_has_three_equal_channels():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    rule = replace(MEDSAM, channels="grey", scale="fixed")
    image, _frame = image_input(picture, rule)
    from PIL import Image

    luma = np.asarray(Image.fromarray(picture).convert("L"))
    assert (image[0] == luma).all()


def test_masks_of_the_sigmoid_are_those_of_medsam():
    """`sigmoid(logits)`, bilinear to the picture's size, above a half."""
    import torch

    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (1, 8, 8)).astype(np.float32))
    frame = fit(37, 22, MEDSAM)
    ours = upscale(logits.numpy(), frame, "sigmoid_bilinear_once")
    published = torch.nn.functional.interpolate(
        torch.sigmoid(logits)[None], size=(22, 37), mode="bilinear", align_corners=False
    )[0]
    np.testing.assert_allclose(ours, 2 * published.numpy() - 1, atol=1e-6)
    assert not np.array_equal(ours > 0, upscale(logits.numpy(), frame, "bilinear_once") > 0)
