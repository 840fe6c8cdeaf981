"""From an RGB image to the `image` input, and back from logits to masks. numpy and Pillow only.

The host's half of the contract: an app does the same steps, from the same numbers in the manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.opencv_resize import opencv_bilinear
from exporter.bundle.rules import Interpolation, MaskRule, Preprocess, Upscale
from exporter.bundle.spline_resize import spline_cubic
from exporter.errors import ImageError

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_PILLOW = {
    "pillow_bilinear": Image.Resampling.BILINEAR,
    "pillow_bicubic": Image.Resampling.BICUBIC,
}


_SEEN = 512  # pixels of a side
# Logits of a picture of ordinary size are upscaled at once.
_BAND = 32_000_000


@dataclass(frozen=True)
class Frame:
    """Where an image lies in the input: sizes in pixels, (width, height).

    Attributes:
        published: where it lies in the square of the published code's prompts and masks, if that
            is not the input. Sides are rounded there anew: 333 rows of 1000 are 341 of 1024, and
            170 of 512, not 170.5.
        offset: x, y of the picture's top left corner in the input.
        one_scale: prompts are scaled by the longer side alone.
        sides: of the input, if it is not the square of `size`; `size` is then the longer one.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    size: int
    published: Frame | None = None
    offset: tuple[int, int] = (0, 0)
    one_scale: bool = False
    sides: tuple[int, int] | None = None

    @property
    def whole(self) -> tuple[int, int]:
        """Width and height of the input."""
        return self.sides or (self.size, self.size)

    def to_input(self, xy: npt.NDArray[np.float64]) -> Floats:
        """(..., 2) x, y in original pixels -> x, y in pixels of the input."""
        frame = self.published or self
        resized = (max(frame.resized),) * 2 if self.one_scale else frame.resized
        original = (max(self.original),) * 2 if self.one_scale else self.original
        scale = np.array(resized, np.float64) / np.array(original, np.float64)
        moved = xy * scale * (self.size / frame.size) + np.array(self.offset, np.float64)
        return moved.astype(np.float32)


def fit(width: int, height: int, rule: Preprocess) -> Frame:
    """Compute where an image of that size lies in the input."""
    published = None
    if rule.frame_size is not None:
        published = Frame(
            (width, height), _fitted(width, height, rule, rule.frame_size), rule.frame_size
        )
    resized = _fitted(width, height, rule, rule.size)
    offset = _centred(resized, rule.size) if rule.resize == "letterbox" else (0, 0)
    one_scale = rule.prompt_scale == "longest_side"
    sides = None if rule.sides is None else (rule.sides[1], rule.sides[0])
    return Frame((width, height), resized, rule.size, published, offset, one_scale, sides)


def seen_frame(width: int, height: int, rule: Preprocess) -> Frame:
    """Say where an image lies in the input, as if it had never been larger than that or `_SEEN`.

    Masks that are only compared need no more pixels than the network gives, which is 256 a side.
    """
    frame = fit(width, height, rule)
    share = min(1.0, min(*rule.shape, _SEEN) / max(width, height))
    seen = max(1, round(width * share)), max(1, round(height * share))
    published = frame.published and replace(frame.published, original=seen)
    return replace(frame, original=seen, published=published)


def _centred(resized: tuple[int, int], size: int) -> tuple[int, int]:
    """Half of the padding; where it is odd, the smaller half is left or above."""
    left, top = ((size - side) // 2 for side in resized)
    return left, top


def _fitted(width: int, height: int, rule: Preprocess, size: int) -> tuple[int, int]:
    if rule.resize == "stretch":
        return size, size
    if rule.resize == "within":
        return _within(width, height, rule)
    if rule.rounding == "truncate":
        return _truncated(width / height, size)
    scale = size / max(width, height)
    if rule.resize == "letterbox":
        return max(1, round(width * scale)), max(1, round(height * scale))
    return _round(width * scale), _round(height * scale)


def image_input(
    rgb: Bytes, rule: Preprocess, size: tuple[int, int] | None = None
) -> tuple[Floats, Frame]:
    """Resize and pad.

    Args:
        rgb: (H, W, 3) uint8.
        rule: the manifest's.
        size: width and height of the picture, if `rgb` is a smaller decoding of it: prompts and
            masks are in its pixels.

    Returns:
        `image` (1, 3, S, S), or of the rule's sides, float32 in 0..255, and where the picture lies
        in it.

    Raises:
        ImageError: not an RGB uint8 array with pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ImageError(
            f"an image is an array (height, width, 3) of uint8, not {rgb.shape} of {rgb.dtype}"
        )
    wide, tall = size or (rgb.shape[1], rgb.shape[0])
    frame = fit(wide, tall, rule)
    width, height = frame.resized
    whole = np.empty((*rule.shape, 3), np.float32)
    whole[:] = np.asarray(rule.pad_value, np.float32)
    left, top = frame.offset
    seen = _grey(rgb) if rule.channels == "grey" else rgb
    picture = _resize(seen, frame.resized, rule.interpolation)
    if rule.scale == "picture":
        picture = _scaled(picture)
    whole[top : top + height, left : left + width] = picture
    return np.ascontiguousarray(whole.transpose(2, 0, 1)[None]), frame


def _grey(rgb: Bytes) -> Bytes:
    """(H, W, 3) -> the same with three equal channels, of Pillow's luma."""
    parts = rgb.astype(np.uint32) * np.array((19595, 38470, 7471), np.uint32)
    grey = (parts.sum(axis=2) + 32768) >> 16
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _scaled(picture: Floats) -> Floats:
    """Bring the picture's own range to 0..255."""
    values = picture.astype(np.float64)
    low, high = values.min(), values.max()
    scaled: Floats = ((values - low) * 255.0 / max(high - low, 1e-8)).astype(np.float32)
    return scaled


def resized_size(frame: Frame) -> Floats:
    """`resized_size` (1, 2): width, height of the resized image, for a graph that pads it."""
    return np.array([frame.resized], np.float32)


def _resize(rgb: Bytes, size: tuple[int, int], interpolation: Interpolation) -> Floats:
    """(H, W, 3) -> (height, width, 3), `size` being (width, height)."""
    if interpolation in _PILLOW:
        return np.asarray(_pillow(Image.fromarray(rgb), size, _PILLOW[interpolation]), np.float32)
    if interpolation == "float_bilinear":
        # Pillow does not round its float images, and they have one channel.
        planes = (Image.fromarray(rgb[..., i].astype(np.float32)) for i in range(3))
        resized = [np.asarray(_pillow(p, size, Image.Resampling.BILINEAR)) for p in planes]
        return np.stack(resized, axis=-1)
    if interpolation in ("float_bilinear_plain", "bilinear_plain"):
        plain = _bilinear_plain(rgb.astype(np.float32), size)
        return np.rint(plain) if interpolation == "bilinear_plain" else plain
    if interpolation == "spline_cubic":
        return spline_cubic(rgb, *size)
    return opencv_bilinear(rgb, *size).astype(np.float32)


def _pillow(image: Image.Image, size: tuple[int, int], how: Image.Resampling) -> Image.Image:
    """Resize rows first, as Pillow did up to 12; 13 begins with columns for some shapes.

    Bytes are rounded in between, so the order shows: a pixel in ten was a step off.
    """
    return image.resize((size[0], image.height), how).resize(size, how)


def _bilinear_plain(image: Floats, size: tuple[int, int]) -> Floats:
    """(H, W, C) -> (height, width, C): a shrinking image is not smoothed first."""
    for axis, new in ((1, size[0]), (0, size[1])):
        low, high, part = _neighbours(image.shape[axis], new)
        weight = part.astype(np.float32).reshape(-1, *(1,) * (2 - axis))
        first, second = image.take(low, axis), image.take(high, axis)
        image = first + (second - first) * weight
    return image


def upscale(low_res_masks: Floats, frame: Frame, how: Upscale = "bilinear") -> Floats:
    """Logits (M, h, w) -> (M, height, width) at the original size.

    The published code interpolates to its square, crops the padding, and interpolates to the
    original size. Each step is linear and separable, so both together are one matrix for the rows
    and one for the columns. `how` is the manifest's `MaskRule.upscale`.
    """
    tall, wide = upscaling(low_res_masks.shape[-2:], frame, how)
    low = activated(low_res_masks, how)[..., : tall.shape[1], : wide.shape[1]]
    full: Floats = np.matmul(np.matmul(tall, low), wide.T)
    return full


def upscaled_masks(low_res_masks: Floats, frame: Frame, rule: MaskRule) -> Bools:
    """Logits (M, h, w) -> masks (M, height, width), without all logits of a large picture."""
    width, height = frame.original
    rows = max(1, _BAND // max(1, len(low_res_masks) * width))
    if rows >= height:
        return binarise(upscale(low_res_masks, frame, rule.upscale), rule)
    tall, wide = upscaling(low_res_masks.shape[-2:], frame, rule.upscale)
    low = activated(low_res_masks, rule.upscale)
    taller = np.matmul(tall, low[..., : tall.shape[1], : wide.shape[1]])
    masks = np.empty((len(low_res_masks), height, width), np.bool_)
    for top in range(0, height, rows):
        band = np.matmul(taller[:, top : top + rows], wide.T)
        masks[:, top : top + rows] = binarise(band, rule)
    return masks


def activated(low_res_masks: Floats, how: Upscale) -> Floats:
    """Apply what comes before upscaling: with `sigmoid_bilinear_once`, tanh(logit / 2)."""
    if how != "sigmoid_bilinear_once":
        return low_res_masks
    active: Floats = np.tanh(np.asarray(low_res_masks, np.float32) * np.float32(0.5))
    return active


@lru_cache(maxsize=2)
def upscaling(shape: tuple[int, ...], frame: Frame, how: Upscale) -> tuple[Floats, Floats]:
    """(height, rows) and (width, columns) for logits (h, w), of which rows may be a part.

    The prompts of one picture share them.
    """
    if how in ("bilinear_once", "sigmoid_bilinear_once", "bicubic_once"):
        matrix = _cubic if how == "bicubic_once" else resampling
        return matrix(shape[0], frame.original[1]), matrix(shape[1], frame.original[0])
    if how == "crop_bilinear":
        # The part of the logits that the picture covers, straight to its size.
        low, longest = shape[1], max(frame.original)
        cols, rows = (max(1, low * side // longest) for side in frame.original)
        return resampling(rows, frame.original[1]), resampling(cols, frame.original[0])
    frame = frame.published or frame
    tall = resampling(shape[0], frame.whole[1])[: frame.resized[1]]
    wide = resampling(shape[1], frame.whole[0])[: frame.resized[0]]
    return (
        resampling(frame.resized[1], frame.original[1]) @ tall,
        resampling(frame.resized[0], frame.original[0]) @ wide,
    )


def mask_scores(logits: Floats, iou: Floats, rule: MaskRule) -> Floats:
    """Compute what ranks masks.

    Args:
        logits: (..., h, w) `low_res_masks`.
        iou: (...) their `iou_predictions`.
        rule: the manifest's.
    """
    if rule.score == "iou_predictions":
        return iou
    edges = (rule.threshold + rule.score_offset, rule.threshold - rule.score_offset)
    strict, loose = ((logits > edge).sum(axis=(-2, -1)) for edge in edges)
    # The published code divides 0 by 0 where a mask has no pixel at all; such a one is never best.
    return np.asarray(strict / np.maximum(loose, 1), np.float32)


def binarise(logits: Floats, rule: MaskRule) -> Bools:
    """Logits -> masks."""
    mask: Bools = logits > rule.threshold
    return mask


def resampling(old: int, new: int) -> Floats:
    """(new, old): bilinear interpolation with half-pixel centres, edges clamped."""
    low, high, part = _neighbours(old, new)
    matrix = np.zeros((new, old))
    at = np.arange(new)
    np.add.at(matrix, (at, low), 1.0 - part)
    np.add.at(matrix, (at, high), part)
    return matrix.astype(np.float32)


def _neighbours(
    old: int, new: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each of `new` places: the two old ones around it, and the share of the second."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, None)
    low = np.minimum(position.astype(np.int64), old - 1)
    return low, np.minimum(low + 1, old - 1), position - low


def _cubic(old: int, new: int) -> Floats:
    """(new, old): cubic convolution (Keys 1981) with half-pixel centres, edges clamped."""
    position = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(position).astype(np.int64)
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        at = first + tap
        weight = _cubic_weight(np.abs(position - at))
        np.add.at(matrix, (np.arange(new), np.clip(at, 0, old - 1)), weight)
    return matrix.astype(np.float32)


def _cubic_weight(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' kernel at distances 0..2, with the a of torch and OpenCV."""
    a = -0.75
    near = ((a + 2.0) * x - (a + 3.0)) * x**2 + 1.0
    far = a * (((x - 5.0) * x + 8.0) * x - 4.0)
    return np.where(x <= 1.0, near, far)


def _within(width: int, height: int, rule: Preprocess) -> tuple[int, int]:
    """Resize by the two limits, which the published code has, or to what the input holds."""
    tall, wide = rule.shape
    longer, shorter = rule.limits or (max(tall, wide), min(tall, wide))
    scale = min(longer / max(width, height), shorter / min(width, height))
    fitted = _round(width * scale), _round(height * scale)
    if fitted[0] > wide or fitted[1] > tall:
        scale = min(wide / width, tall / height)
        fitted = _round(width * scale), _round(height * scale)
    return fitted


def _truncated(ratio: float, size: int) -> tuple[int, int]:
    """Sides for a width over height, in the published order of operations.

    The order decides where a quotient comes out whole or just under it.
    """
    wide, tall = (size, size / ratio) if ratio >= 1 else (size * ratio, size)
    return max(1, int(wide)), max(1, int(tall))


def _round(value: float) -> int:
    """Half up, as the published code rounds a side."""
    return max(1, int(value + 0.5))
