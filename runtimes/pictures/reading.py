"""Read any picture file as RGB bytes. Whatever Pillow raises becomes one line of our own."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError, features

from exporter.bundle.preprocess import Bytes
from exporter.closest import missing
from exporter.errors import ImageError
from runtimes import chatter
from runtimes.pictures import Picture
from runtimes.pictures.depth import Range, to_bytes
from runtimes.pictures.kinds import AVIF, HEAD, HEIC, NO_PICTURES, RAW, SAVE, Kind, kind_of
from runtimes.pictures.pixels import (
    TURNED,
    alpha_of,
    array_of,
    deep_of,
    orientation,
    rgb_of,
    upright,
)
from runtimes.pictures.tiff import form_of, is_preview

MAX_PIXELS = 180_000_000
"""Pixels that are decoded, if the caller does not say otherwise."""
MAX_SIDE = 65_535
"""Pixels of a side: JPEG's own limit; masks are made by matrices of that many rows."""

_FACTORS = (2, 4)
"""By which a JPEG's decoder shrinks the sides of a picture as it goes."""
_MOST_SHRUNK = 8
"""Times `max_pixels` that a JPEG may have: decoding takes its time, however small it comes out."""
_BYTES_A_PIXEL = 8  # Pillow's four, and four or three of its copy, upright or an array
_PAGES = frozenset({"AVIF", "GIF", "HEIF", "PNG", "TIFF", "WEBP"})
"""Formats whose further frames are pictures that a user may mean; a JPEG's are its previews."""
_LETTER = re.compile("[A-Za-z]")
_NO_KIND = "is of no kind of picture that is known here: save it as PNG, JPEG or TIFF"
# What Pillow's readers say of a sound file in a form that they do not know.
_UNKNOWN_FORM = re.compile(
    r"unsupported|not supported|unknown|cannot handle|not available|not implemented|too large"
    r"|cannot find loader|conversion from|not recognized",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reading:
    """How a picture file is read.

    Attributes:
        range: values that become black and white in a picture of more than 8 bits; None for `auto`.
        max_pixels: decoded at most. A JPEG of up to 8 times as many is decoded at a half or a
            quarter of its sides; any other picture of more is refused.
        options: whether messages name options of `sam-run`.
    """

    range: Range | None = None
    max_pixels: int = MAX_PIXELS
    options: bool = True


def read_picture(path: Path, how: Reading | None = None) -> Picture:
    """Read a picture, turned upright by its EXIF orientation; transparency is dropped.

    Raises:
        ImageError: missing, not a picture, damaged, of a kind that is not read, or too large.
    """
    how = how or Reading()
    head = _head(path)
    kind = kind_of(head, path.suffix)
    if kind is not None and kind.reader == "none":
        raise ImageError(f"{path} is {kind.name}: {kind.advice}")
    if kind is HEIC:
        _register_heif(path)
    said: list[warnings.WarningMessage] = []
    try:
        with _pillow(how.max_pixels, head) as said, _silent(kind):
            return _decode(path, how)
    except ImageError as error:
        raise ImageError(f"{path} {error}") from None
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_large(str(path), int(pixels[1]) if pixels else 0, how) from None
    except MemoryError:
        raise ImageError(f"{path} does not fit into memory") from None
    # Every format has errors of its own: SyntaxError, struct.error, NotImplementedError and more.
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"{path} {_fault(path, kind, error, said)}") from None


def read_grey(path: Path) -> Bytes:
    """Read (h, w) brightness, black where it is transparent, of a picture that somebody drew.

    Raises:
        ImageError: see `read_picture`.
    """
    rgb = read_picture(path).rgb
    with _pillow(MAX_PIXELS, b""), _opened(path) as stored:
        alpha = upright(alpha_of(stored), orientation(stored))
        grey = Image.fromarray(rgb).convert("L")
        return np.asarray(ImageChops.multiply(grey, alpha.resize(grey.size)))


def _head(path: Path) -> bytes:
    if not path.is_file():
        raise ImageError(f"{path} is {'not a file' if path.exists() else missing(path)}")
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from None


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise ImageError(f"{path} is {HEIC.name}: {HEIC.advice}") from None
    pillow_heif.register_heif_opener()


@contextmanager
def _pillow(max_pixels: int, head: bytes) -> Iterator[list[warnings.WarningMessage]]:
    """Set Pillow's limits for a while, and keep its warnings from the user.

    Gives the warnings: among them are the reasons of readers that knew a file and refused it.
    """
    # A JPEG of more is decoded smaller. Pillow's error begins at twice its limit.
    most = max_pixels * (_MOST_SHRUNK if head.startswith(b"\xff\xd8\xff") else 1)
    before = Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS
    Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = (most + 1) // 2, True
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield said
    finally:
        Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS = before


def _silent(kind: Kind | None) -> AbstractContextManager[None]:
    """Keep libtiff's own lines from the user: `ZSTDDecode: Error in ... .`."""
    if kind is None or kind.format != "TIFF":
        return nullcontext()
    return chatter.without(re.compile(rb"[^:\n]+: .*\.\n").fullmatch)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # From a stream: Pillow 13 maps an uncompressed TIFF that is named, and garbles a turned one.
    with path.open("rb") as stream, Image.open(stream) as image:
        yield image


def _decode(path: Path, how: Reading) -> Picture:
    decoded, full, notes = _decoded(path, how)
    rgb = array_of(decoded)
    size = (rgb.shape[1], rgb.shape[0]) if full is None else full
    return Picture(rgb, size, tuple(f"{path} {note}" for note in notes))


def _decoded(path: Path, how: Reading) -> tuple[Image.Image, tuple[int, int] | None, list[str]]:
    """Decode, upright: the picture, its full size if that is another, and notes."""
    with _opened(path) as stored:
        width, height = stored.size
        if 0 in stored.size:
            raise ImageError("has no pixels")
        if max(stored.size) > MAX_SIDE:
            raise ImageError(f"is {width} x {height}: a side may have {MAX_SIDE} pixels at most")
        if is_preview(stored):
            raise ImageError(f"is {RAW.name}: {RAW.advice}")
        notes = ["has several frames: the first one is taken"] if _has_pages(stored) else []
        shrunk = _shrink(stored, how)
        decoded, said = _eight_bits(stored, path, how)
        held = orientation(stored)
    full = (height, width) if held in TURNED else (width, height)
    return (
        upright(decoded, held),
        full if shrunk else None,
        [*notes, *shrunk, *filter(None, [said])],
    )


def _eight_bits(stored: Image.Image, path: Path, how: Reading) -> tuple[Image.Image, str]:
    """Decode to RGB of 8 bits, not yet upright, and say what was done."""
    deep = deep_of(stored, partial(_opened, path))
    if deep is not None:
        scaled, said = to_bytes(deep, how.range)
        hint = "" if how.range or not how.options else "; --range LOW,HIGH takes another"
        return Image.fromarray(scaled).convert("RGB"), f"{said}{hint}"
    if how.range is not None:
        raise ImageError("has 8 bits: leave out --range, which is for pictures of more")
    return rgb_of(stored)


def _has_pages(stored: Image.Image) -> bool:
    return stored.format in _PAGES and bool(getattr(stored, "is_animated", False))


def _shrink(stored: Image.Image, how: Reading) -> list[str]:
    """Have a JPEG that is too large decoded smaller. ImageError if nothing makes it small enough.

    Returns:
        What was done, for the reader.
    """
    width, height = stored.size
    if width * height <= how.max_pixels:
        return []
    # A progressive JPEG is held whole by its decoder, however small it comes out.
    if stored.format in ("JPEG", "MPO") and "progressive" not in stored.info:
        for factor in _FACTORS:
            if math.ceil(width / factor) * math.ceil(height / factor) <= how.max_pixels:
                stored.draft(stored.mode, (width // factor, height // factor))
                break
    if stored.size[0] * stored.size[1] > how.max_pixels:
        raise _too_large("", width * height, how)
    limit = f"--max-pixels {how.max_pixels}" if how.options else f"{how.max_pixels}"
    return [
        f"has {width} x {height} pixels and was decoded at {stored.size[0]} x {stored.size[1]}: "
        f"more than {limit}; prompts and masks are in the full size"
    ]


def _too_large(subject: str, pixels: int, how: Reading) -> ImageError:
    many = f"{pixels / 1e6:.0f} megapixels" if pixels >= 1e7 else f"{pixels} pixels"
    most = f"{how.max_pixels / 1e6:g}" if pixels >= 1e7 else f"{how.max_pixels}"
    said = f"is too large: {many}, and up to {most} are read"
    if pixels <= MAX_SIDE**2 and how.options:
        memory = pixels * _BYTES_A_PIXEL / 1e9
        said += f"; --max-pixels {pixels} reads it in about {memory:.1f} GB of memory"
    return ImageError(f"{subject} {said}".strip())


def _fault(
    path: Path, kind: Kind | None, error: Exception, said: list[warnings.WarningMessage]
) -> str:
    """Say why a file could not be decoded."""
    unidentified = isinstance(error, UnidentifiedImageError)
    if kind is None or kind in NO_PICTURES:
        if not unidentified:
            return f"is damaged, or of a form that is not read here: {_reason(error)}"
        return f"is {kind.name}: {kind.advice}" if kind is not None else _NO_KIND
    if unidentified and not _is_read(kind):
        return f"is {kind.name}: {kind.advice}"
    reason = _refusal(kind, said) if unidentified else _reason(error)
    word = kind.name.partition(" ")[2]
    form = form_of(path) if kind.name == "a TIFF" else ""
    unknown = isinstance(error, NotImplementedError) or _UNKNOWN_FORM.search(reason)
    if form is None or not unknown:
        return f"is damaged ({word}): {reason}"
    shown = f"{reason} ({form})" if form else reason
    return f"is {kind.name} of a form that is not read here: {shown}; {kind.advice or SAVE}"


def _is_read(kind: Kind) -> bool:
    """Tell whether a reader of that kind is installed."""
    if kind is HEIC:
        return True  # refused before, if not
    if kind is AVIF:
        return features.check("avif") is True
    return kind.format in Image.OPEN


def _refusal(kind: Kind, said: list[warnings.WarningMessage]) -> str:
    """Find why the reader of that kind refused a file."""
    prefix = f"{kind.format} opening failed. "
    reasons = (str(warning.message) for warning in said)
    own = (reason.removeprefix(prefix).strip() for reason in reasons if reason.startswith(prefix))
    reason = next(own, "")
    return reason if _LETTER.search(reason) else "its header cannot be read"


def _reason(error: Exception) -> str:
    said = (str(error).splitlines() or [""])[0]
    if not said:
        return type(error).__name__
    return said if _LETTER.search(said) else "its parts do not fit together"
