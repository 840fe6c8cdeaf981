"""A mask given as the prompt of a frame, as SAM 2's video predictor takes one. numpy and Pillow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from exporter.bundle.preprocess import Bools, Floats, Frame
from exporter.errors import PromptError

_HALF = 0.5


@dataclass(frozen=True)
class MaskDownsample:
    """The published 4 x 4 convolution of stride 4: `weight` (4, 4) and `bias`."""

    weight: Floats
    bias: float

    def __call__(self, square: Floats, side: int) -> Floats:
        """(S, S) of 0 and 1 -> (side, side) for `mask_input`."""
        quarter = square.shape[0] // 4
        cells = square.reshape(quarter, 4, quarter, 4)
        shrunk: Floats = np.einsum("aibj,ij->ab", cells, self.weight) + np.float32(self.bias)
        return _resize(shrunk.astype(np.float32), (side, side))


def as_mask(mask: object) -> Bools:
    """Check a mask: (H, W) of booleans, or of numbers that are 0 outside. PromptError if none."""
    try:
        array = np.asarray(mask)
    except Exception as error:  # noqa: BLE001 - tensors of other libraries have errors of their own
        raise PromptError(f"mask is no array: {error}") from None
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "buif":
        raise PromptError(f"mask is (height, width) of booleans, not {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise PromptError("mask holds values that are not finite")
    inside: Bools = array > 0
    return inside


def in_square(mask: Bools, frame: Frame) -> Floats:
    """Lay a mask into the input: (S, S) of 0 and 1. It is stretched over the picture."""
    square = np.zeros((frame.size, frame.size), np.float32)
    width, height = frame.resized
    left, top = frame.offset
    shrunk = _resize(mask.astype(np.float32), (width, height))
    square[top : top + height, left : left + width] = shrunk >= _HALF
    return square


def low_res_logits(square: Floats, side: int, logit: float) -> Floats:
    """(S, S) of 0 and 1 -> (side, side) logits, `logit` inside and -`logit` outside."""
    return _resize(square * np.float32(2 * logit) - np.float32(logit), (side, side))


def _resize(array: Floats, size: tuple[int, int]) -> Floats:
    """Bilinear, and antialiased if it shrinks; in floats, which Pillow never rounds."""
    if array.shape == (size[1], size[0]):
        return array
    picture = Image.fromarray(array).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)
