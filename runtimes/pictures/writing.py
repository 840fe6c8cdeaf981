"""Files that appear whole or not at all, and formats that hold what is written to them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from exporter.errors import ExportError, RequestError
from exporter.printable import printable

_MASK_OPTIONS: dict[str, dict[str, Any]] = {
    "BMP": {},
    "DIB": {},
    "JPEG2000": {"irreversible": False},
    "PCX": {},
    "PNG": {},
    "PPM": {},
    "SGI": {},
    "TGA": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
}
"""Formats that give 0 and 255 back exactly, and how."""

_MOST = {"AVIF": 65_536, "GIF": 65_535, "JPEG": 65_500, "PCX": 65_535, "SGI": 65_535}
_MOST |= {"MPO": 65_500, "TGA": 65_535, "WEBP": 16_383}
"""Pixels of a side that a format can hold."""

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
_RESIZING = frozenset({"ICNS", "ICO"})
_COLOURLESS = frozenset({"BLP", "MSP", "PALM", "SPIDER", "XBM"})
_STUBS = frozenset({"BUFR", "GRIB", "HDF5", "WMF"})


def write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file completely or not at all.

    Raises:
        RequestError: there can be no such file.
        ExportError: the disk is full, or fails.
    """
    temporary = path.with_name(f".{path.name[:40]}.partial-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as stream:
            write(stream)
        temporary.replace(path)
    except OSError as error:
        kind = ExportError if error.errno in _DISK else RequestError
        raise kind(f"cannot write {printable(str(path))}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """RequestError if a file can be seen not to be writable before the work."""
    if not path.name:
        raise RequestError("a file to write should have a name")
    if not path.parent.is_dir():
        raise RequestError(f"there is no folder {path.parent} to write {path.name} to")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RequestError(
            f"cannot write {printable(str(path))}: the folder {path.parent} is not yours to write"
        )
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise RequestError(f"cannot write {printable(str(path))}: {error.strerror}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        what = "a folder" if stat.S_ISDIR(mode) else "no plain file"
        raise RequestError(f"cannot write {printable(str(path))}: it is {what}")


def require_outside(files: Iterable[Path], bundles: Iterable[Path]) -> None:
    """RequestError if a file to write lies in a bundle that is being used, or replaces its file."""
    folders = [_identity(bundle) for bundle in bundles]
    for path in files:
        above = [_identity(parent) for parent in _resolved(path).parents]
        if any(folder and folder in above for folder in folders):
            raise RequestError(
                f"{printable(str(path))} lies in the bundle, which holds nothing but what was "
                "exported: write it elsewhere"
            )


def _resolved(path: Path) -> Path:
    """Follow links; a name that leads nowhere stays, for whoever writes to it says so."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def save_picture(path: Path, image: Image.Image, says: str = "") -> None:
    """Save in the format of the path's suffix; `says` is a text in it, if it is PNG, TIFF or JPEG.

    In a PNG its keyword is `Description`.
    """
    _save(path, image, _text(path, says))


def save_mask(path: Path, image: Image.Image, says: str = "") -> None:
    """Save a mask of 0 and 255 so that the file holds nothing else but what it `says`."""
    _save(path, image, _MASK_OPTIONS[_format(path)] | _text(path, says))


def _text(path: Path, says: str) -> dict[str, Any]:
    """Make the options of Pillow that put a text into a file."""
    if not says:
        return {}
    described = PngInfo()
    described.add_text("Description", says)
    options: dict[str, dict[str, Any]] = {
        "PNG": {"pnginfo": described},
        "TIFF": {"description": says},
        "JPEG": {"comment": says.encode()},
    }
    return options.get(_format(path), {})


def _save(path: Path, image: Image.Image, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's are for programmers
        write_whole(path, lambda stream: image.save(stream, _format(path), **options))


def require_picture_format(path: Path) -> None:
    """RequestError if the format of the path's suffix cannot hold a colour picture."""
    if _format(path) not in Image.SAVE.keys() - _RESIZING - _COLOURLESS - _STUBS:
        raise RequestError(f"{path} should end in .png or another format of colour pictures")


def require_mask_format(path: Path) -> None:
    """RequestError if the format of the path's suffix cannot hold a mask as it is."""
    name = _format(path)
    if name not in Image.SAVE:
        raise RequestError(f"{path} should end in .png or another picture format")
    if name not in _MASK_OPTIONS:
        raise RequestError(
            f"{path} cannot hold a mask, which is 0 and 255 alone: {name} would change it; "
            "end it in .png (or .tif, .bmp, .webp, .pgm)"
        )


def require_size(path: Path, size: tuple[int, int]) -> None:
    """RequestError if the format of the path's suffix cannot hold a picture of that size."""
    name = _format(path)
    most = _MOST.get(name, max(size))
    if max(size) > most:
        raise RequestError(f"{path}: {name} holds {most} pixels a side, not {max(size)}; use .png")


def _format(path: Path) -> str:
    Image.preinit()  # the usual formats; all of them take 20 ms to load
    suffix = path.suffix.lower()
    return Image.EXTENSION.get(suffix) or Image.registered_extensions().get(suffix, "")
