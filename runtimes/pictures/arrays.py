"""Whatever a Python caller holds -> Picture, or an error that names what it is.

| given | taken as |
| --- | --- |
| a path | the picture in the file, upright |
| a PIL image | its pixels as they are held: EXIF turns nothing |
| (H, W), (H, W, 1) | grey |
| (H, W, 3), (H, W, 4) | RGB; alpha is dropped. BGR cannot be noticed |
| (1, H, W), (3, H, W) | the same, channels first, if the last axis can be no channels |
| uint8 | as it is |
| bool | black and white |
| floats | 0..1 if none is above 1, else 0..255 |
| other integers | 0..255 if none is outside, else scaled as a file of 16 bits |
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.preprocess import Bytes
from exporter.errors import ImageError
from runtimes.pictures import Picture
from runtimes.pictures.depth import Deep, to_bytes
from runtimes.pictures.pixels import array_of, deep_of, rgb_of
from runtimes.pictures.reading import MAX_SIDE, read_picture

Given = str | os.PathLike[str] | Image.Image | npt.ArrayLike
"""What `set_image` takes."""

_TENSOR = "give tensor.detach().float().cpu().numpy()"
_CHANNELS, _FIRST = (1, 3, 4), (1, 3)


def as_picture(given: object) -> Picture:
    """Make a picture. ImageError names what it is if it is none."""
    if isinstance(given, Picture):
        return given
    if isinstance(given, str | os.PathLike):
        return read_picture(Path(given))
    if isinstance(given, Image.Image):
        rgb, said = _of_pillow(given)
    else:
        rgb, said = _bytes(_channels_last(_array(given)))
    return Picture(rgb, (rgb.shape[1], rgb.shape[0]), (f"the picture {said}",) if said else ())


def _of_pillow(image: Image.Image) -> tuple[Bytes, str]:
    if 0 in image.size:
        raise ImageError("the picture has no pixels")
    # If something is wrong with a file that the caller opened, it is found only now.
    try:
        deep = deep_of(image, None)
        if deep is None:
            rgb, said = rgb_of(image)
            return array_of(rgb), said
        scaled, said = to_bytes(deep)
        return array_of(Image.fromarray(scaled).convert("RGB")), said
    except Exception as error:  # noqa: BLE001
        raise ImageError(f"the picture cannot be decoded: {error}") from None


def _array(given: object) -> npt.NDArray[Any]:
    kind = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    if given is None:
        raise ImageError("the picture is None; cv2.imread gives None for a file it cannot read")
    if isinstance(given, np.ma.MaskedArray):
        raise ImageError(
            "a masked array has pixels without a value: give masked.filled(VALUE), so that they "
            "have the one you mean"
        )
    if isinstance(given, np.ndarray):
        array: npt.NDArray[Any] = np.asarray(given)
    elif isinstance(given, list | tuple) or hasattr(given, "__array__"):
        # A tensor on another device, or one that takes part in a gradient, refuses in its own way.
        try:
            array = np.asarray(given)
        except Exception as error:  # noqa: BLE001
            cure = _TENSOR if kind == "torch.Tensor" else f"give a numpy array ({error})"
            raise ImageError(f"{kind} cannot be taken as it is: {cure}") from None
    else:
        raise ImageError(f"{kind} is no picture: {_cure(given)}")
    if array.dtype.kind not in "buif":
        raise ImageError(f"a picture holds numbers, not {array.dtype}")
    return array


def _cure(given: object) -> str:
    if isinstance(given, bytes | bytearray | memoryview):
        return "if it is a picture file's content, give PIL.Image.open(io.BytesIO(...))"
    if hasattr(given, "read"):
        return "of an open file, give its path, or PIL.Image.open(...)"
    return "give a path, a PIL image or a numpy array"


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3 and shape[2] not in _CHANNELS and shape[0] in _FIRST:
        array = array.transpose(1, 2, 0)
    elif array.ndim != 3 or shape[2] not in _CHANNELS:
        batch = array.ndim == 4 and shape[0] == 1
        cure = "take [0] of it" if batch else "give (height, width), or with 3 or 4 channels last"
        raise ImageError(f"an array of {shape} is no picture: {cure}")
    if 0 in shape:
        raise ImageError(f"the picture has no pixels: {shape}")
    if max(array.shape[:2]) > MAX_SIDE:
        raise ImageError(f"the picture is {shape}: a side may have {MAX_SIDE} pixels at most")
    if array.shape[2] == 1:
        array = np.broadcast_to(array, (*array.shape[:2], 3))
    return array[..., :3]


def _bytes(array: npt.NDArray[Any]) -> tuple[Bytes, str]:
    """(H, W, 3) of any numbers -> bytes, and what was done."""
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ""
    if kind == "b":
        return np.asarray(array, np.uint8) * np.uint8(255), ""
    if kind == "f" and not np.isfinite(array).all():
        raise ImageError("the picture holds values that are not finite")
    low, high = array.min(), array.max()
    if low < 0:
        raise ImageError(
            f"the picture holds negative values (from {low:g} to {high:g}): give it as it was "
            "before it was normalised; the bundle does that itself"
        )
    if kind == "f":
        if high > 255:
            raise ImageError(f"floats of a picture are in 0..1 or 0..255, not up to {high:g}")
        scale = 255.0 if high <= 1 else 1.0
        return np.rint(np.asarray(array, np.float64) * scale).astype(np.uint8), ""
    if high <= 255:
        return np.asarray(array, np.uint8), ""
    scaled, said = to_bytes(Deep(array, f"integers of {array.dtype.itemsize * 8} bits"))
    return scaled, said
