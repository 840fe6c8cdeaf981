"""From an RGB image to the `image` input, and back from logits to masks. numpy and Pillow only.

The host's half of the contract: the generated Swift and Kotlin do these same steps, from the same
numbers in the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.errors import BundleError, ImageError
from exporter.manifest import MaskRule, Preprocess

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the square input: sizes in pixels, (width, height).

    Attributes:
        published: where it lies in the square of the published code's prompts and masks, if that
            is not the input. Sides are rounded there anew: 333 rows of 1000 are 341 of 1024, and
            170 of 512, not 170.5.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    size: int
    published: Frame | None = None

    def to_input(self, xy: npt.NDArray[np.float64]) -> Floats:
        """(..., 2) x, y in original pixels -> x, y in pixels of the S x S input."""
        frame = self.published or self
        scale = np.array(frame.resized, np.float64) / np.array(self.original, np.float64)
        return (xy * scale * (self.size / frame.size)).astype(np.float32)


def fit(width: int, height: int, rule: Preprocess) -> Frame:
    """Where an image of that size lies in the input."""
    published = None
    if rule.frame_size is not None:
        published = Frame(
            (width, height), _fitted(width, height, rule, rule.frame_size), rule.frame_size
        )
    resized = _fitted(width, height, rule, rule.size)
    return Frame((width, height), resized, rule.size, published)


def _fitted(width: int, height: int, rule: Preprocess, size: int) -> tuple[int, int]:
    if rule.resize == "stretch":
        return size, size
    scale = size / max(width, height)
    return _round(width * scale), _round(height * scale)


def image_input(rgb: Bytes, rule: Preprocess) -> tuple[Floats, Frame]:
    """Resize and pad.

    Args:
        rgb: (H, W, 3) uint8.
        rule: the manifest's.

    Returns:
        `image` (1, 3, S, S) float32 in 0..255, and where the picture lies in it.

    Raises:
        ImageError: not an RGB uint8 array with pixels.
        BundleError: an interpolation this release does not know.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ImageError(
            f"an image is an array (height, width, 3) of uint8, not {rgb.shape} of {rgb.dtype}"
        )
    frame = fit(rgb.shape[1], rgb.shape[0], rule)
    width, height = frame.resized
    square = np.empty((rule.size, rule.size, 3), np.float32)
    square[:] = np.asarray(rule.pad_value, np.float32)
    square[:height, :width] = _resize(rgb, frame.resized, rule.interpolation)
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None]), frame


def _resize(rgb: Bytes, size: tuple[int, int], interpolation: str) -> Floats:
    """(H, W, 3) -> (height, width, 3), `size` being (width, height)."""
    if interpolation == "pillow_bilinear":
        return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR), np.float32)
    if interpolation == "float_bilinear":
        # Pillow does not round its float images, and they have one channel.
        planes = (Image.fromarray(rgb[..., i].astype(np.float32)) for i in range(3))
        resized = [np.asarray(p.resize(size, Image.Resampling.BILINEAR)) for p in planes]
        return np.stack(resized, axis=-1)
    raise BundleError(f"no interpolation is called {interpolation!r}; get a newer release")


def upscale(low_res_masks: Floats, frame: Frame, how: str = "bilinear") -> Floats:
    """Logits (M, h, w) -> (M, height, width) at the original size.

    The published code interpolates to its square, crops the padding, and interpolates to the
    original size. Each step is linear and separable, so both together are one matrix for the rows
    and one for the columns. `how` is the manifest's `MaskRule.upscale`.
    """
    if how == "bilinear_once":
        tall = _resampling(low_res_masks.shape[-2], frame.original[1])
        wide = _resampling(low_res_masks.shape[-1], frame.original[0])
        once: Floats = np.matmul(np.matmul(tall, low_res_masks), wide.T)
        return once
    frame = frame.published or frame
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
