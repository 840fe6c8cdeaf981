"""What everything is asked of: an encoder and a decoder in any form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from exporter.bundle.pieces import Piece
from exporter.bundle.preprocess import Bools, Bytes, Floats, fit, upscaling
from exporter.bundle.rules import Preprocess
from exporter.errors import RequestError
from runtimes.everything.steps.interpolation import Upscaler

Generator = Literal["sam", "sam2"]
Passing = Callable[[Floats], Bools]
"""Predicted IoUs (n, K) -> which of them pass."""
SIZE = 1024
"""Side of SAM's input, in pixels."""


class Predictor(Protocol):
    """An image once, then prompts, each in pixels of that image.

    Optional besides: `frame`, `"pad"` (the default: the longest side becomes the input's, as SAM)
    or `"stretch"` (both sides, as SAM 2), and `size`, the input's side, both for the interpolation
    of logits; `upscaler(shape, size)` instead of them; `generator`, whose rules are the default,
    `"sam"` or `"sam2"`, otherwise SAM 2's for a stretched frame; `mask_threshold`;
    `passing_points(points, multimask, passing)` for a decoder that rates masks before it makes
    them; `detections()` for one that finds objects by itself; `proposals()` for one that proposes
    points: (n, 2) x, y in pixels of the image, the best first, and their scores (n,) in 0..1.
    """

    def set_image(self, image: Bytes, /) -> object:
        """Take (H, W, 3) uint8."""
        ...

    def points(
        self,
        points: npt.NDArray[np.float64],
        multimask: bool = True,  # noqa: FBT001 - as published
        mask_input: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Answer one click each: (n, 2) -> logits (n, K, h, w) and predicted IoUs (n, K).

        K is 3, or 1 without `multimask` or with `mask_input` (n, h, w), logits to refine.
        """
        ...

    def boxes(self, boxes: Floats) -> tuple[Floats, Floats]:
        """Answer one box each: (n, 4) x0, y0, x1, y1 -> (n, 1, h, w) and (n, 1)."""
        ...


class Finder(Protocol):
    """Finds objects by itself."""

    def set_image(self, image: Bytes, /) -> object:
        """Take (H, W, 3) uint8."""
        ...

    def detections(self) -> tuple[Sequence[Piece], Floats]:
        """Return the image's objects, best first, and their boxes (K, 4) x0, y0, x1, y1."""
        ...


def generator_of(predictor: object) -> Generator:
    """Find whose rules a predictor is for."""
    default: Generator = "sam2" if getattr(predictor, "frame", "pad") == "stretch" else "sam"
    return getattr(predictor, "generator", None) or default


def upscaler_of(predictor: object, shape: tuple[int, int], size: tuple[int, int]) -> Upscaler:
    """Find how logits become an image's masks.

    Args:
        predictor: see `Predictor`.
        shape: height and width of the logits.
        size: height and width of the image.
    """
    own = getattr(predictor, "upscaler", None)
    if own is not None:
        made: Upscaler = own(shape, size)
        return made
    frame = getattr(predictor, "frame", "pad")
    if frame not in ("pad", "stretch"):
        raise RequestError(f"a predictor's frame is 'pad' or 'stretch', not {frame!r}")
    side = int(getattr(predictor, "size", SIZE))
    rule = Preprocess(
        "longest_side" if frame == "pad" else "stretch",
        side,
        "pillow_bilinear",
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
    )
    how = "bilinear" if frame == "pad" else "bilinear_once"
    return Upscaler(*upscaling(shape, fit(size[1], size[0], rule), how))
