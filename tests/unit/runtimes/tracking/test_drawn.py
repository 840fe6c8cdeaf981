"""A mask as the prompt, beside the operations of the published predictor in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from exporter.bundle.preprocess import Preprocess, fit
from exporter.errors import PromptError
from runtimes.tracking.drawn import MaskDownsample, as_mask, in_square, low_res_logits

RULE = Preprocess("stretch", 128, "pillow_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3)


def blob(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(height).standard_normal((1, 1, 9, 9)).astype(np.float32)
    grown = functional.interpolate(torch.from_numpy(noise), (height, width), mode="bicubic")
    return grown[0, 0].numpy() > 0


@pytest.mark.parametrize("size", [(360, 480), (90, 70), (128, 128), (1000, 50)])
def test_as_the_published_predictor_lays_and_shrinks_it(size):
    mask = blob(*size)
    square = in_square(mask, fit(size[1], size[0], RULE))
    given = torch.from_numpy(mask.astype(np.float32))[None, None]
    resized = functional.interpolate(given, (128, 128), mode="bilinear", antialias=True)
    expected = (resized >= 0.5).float()
    # Where the share is a half to the last bit, rounding decides.
    sure = np.abs(resized[0, 0].numpy() - 0.5) > 1e-6
    np.testing.assert_array_equal(square[sure], expected[0, 0].numpy()[sure])
    given = torch.from_numpy(square)[None, None]
    low = functional.interpolate(given * 20 - 10, (32, 32), mode="bilinear", antialias=True)
    np.testing.assert_allclose(low_res_logits(square, 32, 10.0), low[0, 0].numpy(), atol=2e-5)


@pytest.mark.parametrize("side", [32, 64, 16])
def test_the_mask_input_is_the_published_convolution(side):
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((4, 4)).astype(np.float32)
    square = blob(128, 128).astype(np.float32)
    given = torch.from_numpy(square)[None, None]
    convolved = functional.conv2d(
        given, torch.from_numpy(weight)[None, None], torch.tensor([0.3]), stride=4
    )
    expected = functional.interpolate(convolved, (side, side), mode="bilinear", antialias=True)
    found = MaskDownsample(weight, 0.3)(square, side)
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-5)


def test_a_padded_picture_has_no_mask_in_its_padding():
    rule = Preprocess("longest_side", 128, "pillow_bilinear", (0.0,) * 3, (0.0,) * 3, (1.0,) * 3)
    square = in_square(np.ones((50, 100), bool), fit(100, 50, rule))
    assert square[:64].all()
    assert not square[64:].any()


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((2, 3, 4)), "height, width"),
        (np.zeros((0, 3)), "height, width"),
        ([["a"]], "height, width"),
        (np.full((2, 2), np.nan), "not finite"),
    ],
)
def test_what_is_no_mask_is_named(mask, says):
    with pytest.raises(PromptError, match=says):
        as_mask(mask)


def test_numbers_above_zero_are_inside():
    assert as_mask(np.array([[[0, 255], [-1, 1]]])).tolist() == [[False, True], [False, True]]
