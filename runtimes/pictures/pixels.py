"""What Pillow opened -> RGB bytes: every mode, more than 8 bits, upright. Pillow and numpy."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image

from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError
from runtimes.pictures.depth import Deep, Values

Opener = Callable[[], AbstractContextManager[Image.Image]]

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
TURNED = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""

_BAND = 16_000_000  # pixels

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _NO_DATA = 258, 262, 284, 339, 42113
_WHITE_IS_ZERO, _PLANES = 0, 2
_UNSIGNED, _SIGNED = 1, 2

# Pillow keeps the high byte of 16-bit colours. Decoded in the other byte order, it keeps the low.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16")


def orientation(loaded: Image.Image) -> int:
    """Find how a picture was held, 1 to 8; 1 if its EXIF says nothing that can be read."""
    # Pillow's parser of EXIF raises whatever a damaged block makes it; the pixels are sound.
    with contextlib.suppress(Exception):
        found = loaded.getexif().get(_ORIENTATION, 1)
        return found if found in _UPRIGHT else 1
    return 1


def upright(image: Image.Image, held: int) -> Image.Image:
    """Turn a picture by its orientation."""
    return image.transpose(_UPRIGHT[held]) if held in _UPRIGHT else image


def rgb_of(stored: Image.Image) -> tuple[Image.Image, str]:
    """Decode a picture of 8 bits to RGB, not yet turned upright; transparency is dropped.

    Returns:
        The picture, and a sentence without a subject if something was transparent.
    """
    stored.load()
    image = stored
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    said = "is transparent in parts: alpha was dropped" if _is_transparent(image) else ""
    return _converted(image), said


def _converted(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        turned = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if turned is not None:
            return turned
    return image if image.mode == "RGB" else image.convert("RGB")


def array_of(image: Image.Image) -> Bytes:
    """Turn an RGB picture into (h, w, 3); a large one in bands, since Pillow copies twice."""
    if image.width * image.height <= _BAND:
        return np.asarray(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb[top : top + rows] = np.asarray(band)
    return rgb


def alpha_of(image: Image.Image) -> Image.Image:
    """Find how opaque each pixel is, (L); white without transparency."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return Image.new("L", image.size, 255)


def _is_transparent(image: Image.Image) -> bool:
    if image.mode not in ("RGBA", "LA", "PA"):
        return False
    alpha = image.convert("RGBA") if image.mode == "PA" else image
    least, _ = alpha.getchannel("A").getextrema()
    return isinstance(least, int | float) and least < 255


def deep_of(stored: Image.Image, again: Opener | None) -> Deep | None:
    """Decode a picture of more than 8 bits, not yet turned upright; None for any other.

    Args:
        stored: opened.
        again: opens it once more: colours of 16 bits are decoded in two passes. Without it they
            are what Pillow makes of them, which is 8 bits.

    Raises:
        ImageError: colours of 16 bits in planes.
    """
    if stored.mode.startswith("I") or stored.mode == "F":
        stored.load()
        values: Values = np.asarray(stored)
        if stored.mode == "I" and _sample_form(stored) == (_UNSIGNED, 32):
            values = values.view(np.uint32)  # Pillow reads them as signed, and says nothing
        return Deep(values, _depth(stored.mode), _no_data(stored), _white_is_low(stored))
    if stored.mode == "L" and _sample_form(stored) == (_SIGNED, 8):
        stored.load()
        return Deep(np.asarray(stored).view(np.int8), "8 bits with a sign", _no_data(stored))
    raw = _raw_mode(stored)
    if again is None:
        return None
    if raw == "LA;16B":
        # Four bytes a pixel: both of the grey value, both of alpha.
        both = _decode_as(again, "RGBA").astype(np.uint16)
        return Deep(both[..., 0] << 8 | both[..., 1], "16 bits")
    if not raw.startswith(_COLOURS):
        return None
    if _tag(stored, _PLANAR) == _PLANES:
        # Pillow takes the bytes of uncompressed planes for pixels, and says nothing.
        raise ImageError("has 16-bit colours in a plane each: save it with colours side by side")
    low = _decode_as(again, raw[:-1] + _OTHER_ORDER[raw[-1]])[..., :3]
    stored.load()
    values = np.asarray(stored)[..., :3].astype(np.uint16)
    values <<= 8
    values |= low
    return Deep(values, "16 bits a colour", _no_data(stored))


def _sample_form(stored: Image.Image) -> tuple[int, int]:
    """Find how a TIFF of one channel stores a value: its format (tag 339) and bits; else zeros."""
    formats, bits = _tag(stored, _SAMPLE_FORMAT), _tag(stored, _BITS)
    if stored.format != "TIFF" or not isinstance(bits, tuple):
        return 0, 0
    return int(formats[0]) if isinstance(formats, tuple) else _UNSIGNED, int(bits[0])


def _depth(mode: str) -> str:
    if mode == "F":
        return "floating point values"
    return "16 bits" if mode.startswith("I;16") else "whole numbers of more than 8 bits"


def _raw_mode(stored: Image.Image) -> str:
    """Find the form in which the file stores its pixels, in Pillow's word; empty if unknown."""
    tiles = getattr(stored, "tile", None)
    if not tiles:
        return ""
    if stored.format == "TIFF" and _tag(stored, _PLANAR) == _PLANES and _bits(stored) == 16:
        return "RGB;16N"
    args = tiles[0][3]
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) and ";16" in first else ""


def _decode_as(again: Opener, raw_mode: str) -> Bytes:
    """Decode with another raw mode than Pillow's own for the file."""
    with again() as image:
        tiles = []
        for codec, extents, offset, args in image.tile:  # type: ignore[attr-defined]
            changed = (raw_mode, *args[1:]) if isinstance(args, tuple) else raw_mode
            tiles.append(type(image.tile[0])(codec, extents, offset, changed))  # type: ignore[attr-defined]
        image.tile = tiles  # type: ignore[attr-defined]
        return np.asarray(image)


def _bits(stored: Image.Image) -> int:
    bits = _tag(stored, _BITS)
    return int(max(bits)) if isinstance(bits, tuple) else 8


def _white_is_low(stored: Image.Image) -> bool:
    # Pillow inverts such pictures of 8 bits, and no deeper ones.
    return _tag(stored, _PHOTOMETRIC) == _WHITE_IS_ZERO


def _no_data(stored: Image.Image) -> float | None:
    """Find the value by which GDAL marks pixels without data."""
    with contextlib.suppress(TypeError, ValueError):
        return float(str(_tag(stored, _NO_DATA)).strip("\0 "))
    return None


def _tag(stored: Image.Image, number: int) -> object:
    tags = getattr(stored, "tag_v2", None)
    return None if tags is None else tags.get(number)
