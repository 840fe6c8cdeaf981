"""How a network's pictures were prepared in training, if not as the variant is published.

A fine-tuned checkpoint has the published tensors, and nothing in them tells. A preparation is data:
changes of the variant's `Preprocess`, and the way back to the picture that belongs to it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from exporter.bundle.rules import Channels, Interpolation, Resize, Scale, Upscale
from exporter.bundle.volume import RULES_OF_VOLUMES
from exporter.closest import unknown
from exporter.errors import RequestError
from exporter.printable import printable
from exporter.variants.sam import MEAN, STD

if TYPE_CHECKING:
    from exporter.bundle.rules import MaskRule, Preprocess
    from exporter.targets import Options
    from exporter.variants import Variant

_ZERO, _FULL = (0.0,) * 3, (255.0,) * 3


@dataclass(frozen=True)
class Preparation:
    """A published way to prepare pictures.

    Attributes:
        summary: in some words.
        changes: fields of `Preprocess`.
        upscale: of `MaskRule`; None to leave the variant's.
    """

    summary: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    upscale: Upscale | None = None


PREPARATIONS: Mapping[str, Preparation] = {
    "published": Preparation("as the variant is published"),
    "sam": Preparation(
        "SAM's: the longest side fits, padded right and below, ImageNet's mean and deviation",
        {
            "resize": "longest_side",
            "interpolation": "pillow_bilinear",
            "mean": MEAN,
            "std": STD,
            "pad_value": MEAN,
        },
        "bilinear",
    ),
    "medsam": Preparation(
        "MedSAM's: stretched by a cubic spline, each picture's own range brought to 0..1",
        {
            "resize": "stretch",
            "interpolation": "spline_cubic",
            "mean": _ZERO,
            "std": _FULL,
            "pad_value": _ZERO,
            "scale": "picture",
        },
        "sigmoid_bilinear_once",
    ),
    "stretch": Preparation(
        "stretched, then ImageNet's mean and deviation (finetune-SAM)",
        {
            "resize": "stretch",
            "interpolation": "pillow_bilinear",
            "mean": MEAN,
            "std": STD,
            "pad_value": _ZERO,
        },
        "bilinear_once",
    ),
    "unit": Preparation(
        "as published, but divided by 255 alone",
        {"mean": _ZERO, "std": _FULL, "pad_value": _ZERO},
    ),
}


ONE_WAY = ("within", "crop")
"""Resizes of variants whose pictures are prepared in one way alone."""


def options_for(variant: Variant, options: Options) -> Options:
    """Take a float image where bytes cannot hold what the preparation gives.

    Raises:
        RequestError: the variant has no image to choose a form for.
    """
    if variant.preprocess.resize == "crop" and options.image_input != "image":
        raise RequestError(
            f"{variant.name} takes a volume, a float tensor on every target: leave out "
            "--image-input"
        )
    if variant.preprocess.scale == "fixed" and variant.preprocess.resize != "crop":
        return options
    return dataclasses.replace(options, image_input="tensor")


def _of_pictures(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in words if word not in (*RULES_OF_VOLUMES, *ONE_WAY))


_WORDS: Mapping[str, tuple[str, ...]] = {
    "resize": _of_pictures(get_args(Resize)),
    "interpolation": _of_pictures(get_args(Interpolation)),
    "scale": get_args(Scale),
    "channels": get_args(Channels),
}
_COLOURS = ("mean", "std", "pad_value")
FIELDS = (*_WORDS, *_COLOURS)


def prepare(text: str, preprocess: Preprocess, mask: MaskRule) -> tuple[Preprocess, MaskRule]:
    """Change a variant's rules as asked.

    Args:
        text: a name of `PREPARATIONS`, and fields to change after it: `medsam`, `stretch,mean=0`,
            `scale=picture,channels=grey`. A colour is one number, or three with slashes.
        preprocess: the variant's.
        mask: the variant's.

    Raises:
        RequestError: there is no such name, field or value, or the way back does not fit it.
    """
    changes: dict[str, Any] = {}
    for place, part in enumerate(text.split(",")):
        key, equals, value = part.strip().partition("=")
        if not equals and place == 0:
            chosen = PREPARATIONS.get(key)
            if chosen is None:
                raise unknown("preparation", key, PREPARATIONS)
            changes |= chosen.changes
            mask = dataclasses.replace(mask, upscale=chosen.upscale or mask.upscale)
            continue
        if key not in FIELDS:
            raise unknown("field of --preprocess", key, FIELDS)
        changes[key] = _value(key, value)
    changed = dataclasses.replace(preprocess, **changes)
    return changed, _way_back(changed, mask)


def _value(key: str, value: str) -> Any:
    if key in _WORDS:
        if value not in _WORDS[key]:
            raise unknown(key, value, _WORDS[key])
        return value
    try:
        numbers = [float(each) for each in value.split("/")]
    except ValueError:
        numbers = []
    colour = tuple(numbers * 3 if len(numbers) == 1 else numbers)
    lowest, highest = (-1e4, 1e4) if key == "mean" else (0.0, 1e4 if key == "std" else 255.0)
    good = len(colour) == 3 and all(lowest <= n <= highest and math.isfinite(n) for n in colour)
    if not good or (key == "std" and 0.0 in colour):
        raise RequestError(
            f"--preprocess {key} is one number or three as 123.675/116.28/103.53, for pixels of "
            f"0..255, not '{printable(value, 60)}'"
        )
    return colour


def _way_back(preprocess: Preprocess, mask: MaskRule) -> MaskRule:
    """Choose the upscaling that fits another resize rule, if the variant's does not."""
    fits: Mapping[str, tuple[Upscale, ...]] = {
        "longest_side": ("bilinear", "crop_bilinear"),
        "stretch": ("bilinear", "bilinear_once", "sigmoid_bilinear_once", "bicubic_once"),
        "letterbox": ("letterbox_bilinear",),
    }
    if preprocess.frame_size is not None and mask.upscale != "bilinear":
        raise RequestError("this variant's prompts have a square of their own: keep its resize")
    allowed = fits[preprocess.resize]
    if mask.upscale in allowed:
        return mask
    if preprocess.resize == "letterbox":
        raise RequestError("--preprocess resize=letterbox is for detectors alone")
    return dataclasses.replace(mask, upscale=allowed[0])
