"""From an RGB image to the `image` input, and back from logits to masks. numpy and Pillow only.

The host's half of the contract: the generated Swift and Kotlin do these same steps, from the same
numbers in the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.errors import ImageError
from exporter.manifest import MaskRule, Preprocess

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the square input: sizes in pixels, (width, height)."""

    original: tuple[int, int]
    resized: tuple[int, int]
    size: int

    def to_input(self, xy: npt.NDArray[np.float64]) -> Floats:
        """(..., 2) x, y in original pixels -> x, y in pixels of the S x S input."""
        scale = np.array(self.resized, np.float64) / np.array(self.original, np.float64)
        return (xy * scale).astype(np.float32)


def fit(width: int, height: int, rule: Preprocess) -> Frame:
    """Where an image of that size lies in the input."""
    if rule.resize == "stretch":
        return Frame((width, height), (rule.size, rule.size), rule.size)
    scale = rule.size / max(width, height)
    return Frame((width, height), (_round(width * scale), _round(height * scale)), rule.size)


def image_input(rgb: Bytes, rule: Preprocess) -> tuple[Floats, Frame]:
    """Resize and pad.

    Args:
        rgb: (H, W, 3) uint8.
        rule: the manifest's.

    Returns:
        `image` (1, 3, S, S) float32 in 0..255, and where the picture lies in it.

    Raises:
        ImageError: not an RGB uint8 array with pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ImageError(
            f"an image is an array (height, width, 3) of uint8, not {rgb.shape} of {rgb.dtype}"
        )
    frame = fit(rgb.shape[1], rgb.shape[0], rule)
    width, height = frame.resized
    resized = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
    square = np.empty((rule.size, rule.size, 3), np.float32)
    square[:] = np.asarray(rule.pad_value, np.float32)
    square[:height, :width] = np.asarray(resized)
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None]), frame


def upscale(low_res_masks: Floats, frame: Frame) -> Floats:
    """Logits (M, h, w) -> (M, height, width) at the original size.

    The published code interpolates to S x S, crops the padding, and interpolates to the original
    size. Each step is linear and separable, so both together are one matrix for the rows and one
    for the columns.
    """
    size = frame.size
    rows = _resampling(low_res_masks.shape[-2], size)[: frame.resized[1]]
    cols = _resampling(low_res_masks.shape[-1], size)[: frame.resized[0]]
    rows = _resampling(frame.resized[1], frame.original[1]) @ rows
    cols = _resampling(frame.resized[0], frame.original[0]) @ cols
    full: Floats = np.matmul(np.matmul(rows, low_res_masks), cols.T)
    return full


def binarise(logits: Floats, rule: MaskRule) -> Bools:
    """Logits -> masks."""
    mask: Bools = logits > rule.threshold
    return mask


def _resampling(old: int, new: int) -> Floats:
    """(new, old): bilinear interpolation with half-pixel centres, edges clamped."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
    low = np.minimum(position.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    part = position - low
    matrix = np.zeros((new, old))
    at = np.arange(new)
    np.add.at(matrix, (at, low), 1.0 - part)
    np.add.at(matrix, (at, high), part)
    return matrix.astype(np.float32)


def _round(value: float) -> int:
    """Half up, as the published code rounds a side."""
    return max(1, int(value + 0.5))
