"""A mask given as a prompt: logits of an earlier run, or a drawn picture.

A drawn mask is inside where it is lighter than half of its lightest pixel, whatever its size: it is
stretched over the picture. It becomes logits of 10 inside and -10 outside, with a slope between,
as SAM 2's own code makes them of a mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.preprocess import Bools, Bytes, Floats, Frame
from exporter.bundle.rules import MaskRule
from exporter.errors import PromptError
from runtimes.pictures.reading import MAX_PIXELS, read_grey

_LOGIT = 10.0
_TAKES = "--mask-input takes one mask of --save-logits, or a picture that is white inside"
_NUMPY = b"\x93NUMPY"


@dataclass(frozen=True)
class MaskPrompt:
    """A mask given as a prompt.

    Attributes:
        logits: (h, w) or (1, h, w).
        note: a sentence for the reader on how a drawn mask was taken; empty for logits.
    """

    logits: Floats
    note: str = ""


def read_mask_prompt(path: Path, frame: Frame, rule: MaskRule) -> MaskPrompt:
    """Read a mask prompt from a file.

    Args:
        path: of `--save-logits`, an array of numpy that is drawn, or a picture.
        frame: of the picture that it belongs to.
        rule: the manifest's.

    Raises:
        PromptError: not a mask of this bundle.
        ImageError: not a file, or not a picture.
    """
    if path.suffix.lower() == ".npz":
        raise PromptError(f"{path} is an archive of arrays: save one mask by np.save; {_TAKES}")
    if not path.is_file() or not _is_array(path):
        if path.suffix.lower() == ".npy" and path.exists():
            raise PromptError(f"{path} is no array of numpy: {_TAKES}")
        return _drawn(path, read_grey(path), frame, rule)
    array = _read_array(path, rule.low_res_size)
    if array.dtype.kind == "f" and not _is_drawn(array):
        _require_logits(array.shape, array.dtype, rule.low_res_size)
        return MaskPrompt(array)
    grey = array.reshape(array.shape[-2:])
    return _drawn(path, (255.0 * grey / max(1, grey.max())).astype(np.uint8), frame, rule)


def read_drawn(path: Path, rule: MaskRule) -> Bools:
    """Read a mask as it is drawn, (H, W): light inside, or logits of `--save-logits` above 0.

    Raises:
        PromptError: it is none, or nothing is inside.
        ImageError: not a file, or not a picture.
    """
    if path.is_file() and _is_array(path):
        array = _read_array(path, rule.low_res_size)
        mask: Bools = array.reshape(array.shape[-2:]) > 0
    else:
        grey = read_grey(path)
        mask = grey > int(grey.max()) // 2
    if not mask.any():
        raise PromptError(f"{path} has nothing inside: a drawn mask is white inside")
    return mask


def as_logits(mask: npt.ArrayLike, side: int) -> Floats:
    """Check logits given as a mask prompt: (side, side) or (1, side, side), floats.

    Raises:
        PromptError: other values, or another shape; or a drawn mask, which as logits would say
            that nothing is outside.
    """
    # Tensors of other libraries refuse with errors of their own.
    try:
        logits = np.asarray(mask)
    except Exception as error:  # noqa: BLE001
        raise PromptError(f"mask_input is no array: {error}") from None
    _require_logits(logits.shape, logits.dtype, side)
    if not np.isfinite(logits).all():
        raise PromptError("mask_input holds values that are not finite")
    if _is_drawn(logits):
        raise PromptError(
            f"mask_input holds 0 and {logits.max():g} alone, so it is a drawn mask and no logits: "
            f"give those, {_LOGIT:g} inside and {-_LOGIT:g} outside"
        )
    return logits


def _is_drawn(array: npt.NDArray[Any]) -> bool:
    """Tell whether floats are a drawn mask: 0 outside, one other value inside, and no third."""
    inside, outside = array == array.max(), array == 0
    return bool(array.max() > 0 and outside.any() and (inside | outside).all())


def _require_logits(shape: tuple[int, ...], dtype: np.dtype[Any], side: int) -> None:
    if len(shape) == 3 and shape[1:] == (side, side) and dtype.kind == "f" and shape[0] > 1:
        raise PromptError(
            f"mask_input is one mask, and this has {shape[0]}: keep one of them, as array[:1], or "
            "save the logits without --multimask"
        )
    if shape not in ((side, side), (1, side, side)) or dtype.kind != "f":
        raise PromptError(
            f"mask_input is one of an earlier result's low_res_masks, floats of ({side}, {side}), "
            f"not {dtype} of {shape}"
        )


def _is_array(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_NUMPY)) == _NUMPY
    except OSError as error:
        raise PromptError(f"cannot read {path}: {error.strerror or error}") from None


def _read_array(path: Path, side: int) -> npt.NDArray[Any]:
    """Read an array whose header says that it is a mask; nothing else is ever loaded."""
    with path.open("rb") as stream:
        shape, dtype = _read_header(path, stream)
        if dtype.hasobject:
            raise PromptError(f"{path} holds Python objects, which are never loaded: {_TAKES}")
        flat = len(shape) in (2, 3) and math.prod(shape[:-2]) == 1 and 0 not in shape
        if dtype.kind not in "bui" and not (flat and dtype.kind == "f"):
            _require_logits(shape, dtype, side)
        if not flat:
            raise PromptError(f"{path} is no mask but {dtype} of {shape}: {_TAKES}")
        if math.prod(shape) > MAX_PIXELS:
            raise PromptError(f"{path} is too large for a mask: {shape}")
        stored = path.stat().st_size - stream.tell()
        if stored < math.prod(shape) * dtype.itemsize:
            raise PromptError(f"{path} is damaged: its array is cut short")
        stream.seek(0)
        try:
            array: npt.NDArray[Any] = np.load(stream, allow_pickle=False)
        except (ValueError, OSError, EOFError):
            raise PromptError(f"{path} is damaged: its array cannot be read") from None
    return array


def _read_header(path: Path, stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    # numpy's own words advise to load a file unsafely, so none of them is passed on. Its parser of
    # the header is Python's own, which raises many things.
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001
        raise PromptError(f"{path} is damaged: its header is no array's") from None
    return shape, dtype


def _drawn(path: Path, grey: Bytes, frame: Frame, rule: MaskRule) -> MaskPrompt:
    """Make logits of a drawn mask (H, W)."""
    inside = grey > int(grey.max()) // 2
    if not inside.any():
        raise PromptError(f"{path} is all black: a drawn mask is white inside")
    side = rule.low_res_size
    (left, top), (wide, tall) = _cells(frame, rule)
    said = f"{path} is taken as a drawn mask, {inside.mean():.1%} of it inside (light)"
    width, height = frame.original
    if abs(inside.shape[1] * height / (inside.shape[0] * width) - 1) > 0.02:
        said += f"; its {inside.shape[1]} x {inside.shape[0]} are stretched over {width} x {height}"
    picture = Image.fromarray(inside.astype(np.uint8) * np.uint8(255))
    share = np.asarray(picture.resize((wide, tall), Image.Resampling.BILINEAR), np.float32) / 255
    logits = np.full((side, side), -_LOGIT, np.float32)
    logits[top : top + tall, left : left + wide] = 2 * _LOGIT * share - _LOGIT
    return MaskPrompt(logits, said)


def _cells(frame: Frame, rule: MaskRule) -> tuple[tuple[int, int], tuple[int, int]]:
    """Find the cells of the logits that the picture covers: left, top and width, height."""
    side = rule.low_res_size
    if rule.upscale == "crop_bilinear":
        longest = max(frame.original)
        wide, tall = (max(1, side * length // longest) for length in frame.original)
        return (0, 0), (wide, tall)
    frame = frame.published or frame
    wide, tall = (max(1, round(length * side / frame.size)) for length in frame.resized)
    left, top = (round(length * side / frame.size) for length in frame.offset)
    return (left, top), (wide, tall)
