"""Read any picture as RGB bytes; write files that appear whole."""

from __future__ import annotations

import contextlib
import secrets
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from exporter.bundle.preprocess import Bytes
from exporter.errors import ExportError, ImageError

# Errors of Pillow's readers on a damaged file; they differ by format.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)


def read_rgb(path: Path) -> Bytes:
    """Read (H, W, 3) uint8, turned upright by its EXIF orientation; transparency is dropped.

    Raises:
        ImageError: missing, not a picture, damaged, without pixels, or absurdly large.
    """
    if not path.is_file():
        raise ImageError(f"{path} is {'not a file' if path.exists() else 'missing'}")
    try:
        with warnings.catch_warnings():
            # A warning is for pictures of 90 to 180 megapixels, which phones do take.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as stored:
                stored.load()
                image = ImageOps.exif_transpose(stored)
    except UnidentifiedImageError:
        raise ImageError(f"{path} is damaged, or not a picture that Pillow reads") from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} is too large: {error}") from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into memory") from None
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ImageError(f"{path} is damaged: {reason}") from None
    if 0 in image.size:
        raise ImageError(f"{path} has no pixels")
    return np.array(to_rgb(image), np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; more than 8 bits are scaled down to 8, not cut off."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _eight_bits(grey: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Bytes:
    """Scale 16-bit grey by its full range; floats and wider types by the range they use."""
    values = np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if grey.dtype.kind in "iu" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255.0 / ((high - low) or 1.0))
    return np.asarray(np.rint(scaled), np.uint8)


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file completely or not at all. ExportError if it cannot be written."""
    temporary = path.with_name(f".{path.name}.partial-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as stream:
            write(stream)
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_picture(path: Path, image: Image.Image) -> None:
    """Save in the format of the path's suffix."""
    formats = Image.registered_extensions()
    write_whole(path, lambda stream: image.save(stream, formats[path.suffix.lower()]))
