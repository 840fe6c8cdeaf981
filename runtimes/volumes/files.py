"""Files of volumes and of their masks: .nii, .nii.gz and .npy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools, Floats
from exporter.bundle.voxels import Cube
from exporter.closest import missing
from exporter.errors import ImageError, PromptError, RequestError
from exporter.printable import printable
from runtimes.pictures.writing import write_whole
from runtimes.volumes import Volume
from runtimes.volumes.nifti import nifti_bytes, read_nifti, require_axes

NIFTI = (".nii", ".nii.gz")
NUMPY = ".npy"
SUFFIXES = (*NIFTI, NUMPY)
_CHANNELS = (3, 4)
"""Lengths of an array's last axis that make it a picture."""
_TAKES = "give a .nii, .nii.gz or .npy file"
_ONE_RUN = "give all clicks in one run, with --refine"


def suffix_of(path: Path) -> str:
    """`.nii.gz`, `.nii` or `.npy`; empty for any other file."""
    name = path.name.lower()
    return next((each for each in (".nii.gz", ".nii", ".npy") if name.endswith(each)), "")


def stem_of(path: Path) -> str:
    """The name without that suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.stem


def part_of(path: Path, index: int, count: int) -> Path:
    """Name the file of one of several masks: `mask_0.nii.gz`."""
    return path if count == 1 else path.with_name(f"{stem_of(path)}_{index}{suffix_of(path)}")


def read_volume(path: Path) -> Volume:
    """Read a volume.

    Raises:
        RequestError: nibabel is missing for a NIfTI file.
        ImageError: there is no such file; it is another kind, damaged, of other axes than three, or
            holds a value that is not finite.
    """
    suffix = suffix_of(path)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, and this bundle segments one volume: {_TAKES}")
    if not path.is_file():
        raise ImageError(f"{path} is {'no plain file' if path.exists() else missing(path)}")
    if not suffix:
        raise ImageError(f"{path} is no volume, and this bundle segments volumes: {_TAKES}")
    volume = read_nifti(path) if suffix in NIFTI else _read_npy(path)
    values = volume.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = values.size - int(np.count_nonzero(np.isfinite(values)))
        raise ImageError(
            f"{path} has {bad} voxels that are not finite (NaN or infinite): replace them"
        )
    return volume


def no_picture(path: Path) -> str:
    """Say what a file with a volume's name is, to one who has a bundle for pictures.

    Raises:
        ImageError: it is an .npy file, and damaged.
    """
    shape = load_array(path).shape if suffix_of(path) == NUMPY and path.is_file() else None
    if shape is None or (len(shape) == 3 and shape[-1] not in _CHANNELS):
        return f"{path} is a volume, and this bundle segments pictures"
    return (
        f"{path} is an array {shape}, and this bundle segments pictures: save it as a PNG or TIFF, "
        "or give it to set_image in Python"
    )


def _read_npy(path: Path) -> Volume:
    array = load_array(path)
    if array.ndim == 2:
        raise ImageError(f"{path} has two axes {array.shape}, a picture's: a volume has three")
    require_axes(path, array.shape)
    if array.dtype.kind not in "buif":
        raise ImageError(f"{path} holds {array.dtype}, not one number a voxel")
    if array.shape[-1] in _CHANNELS and array.dtype == np.uint8:
        raise ImageError(
            f"{path} {array.shape} of uint8 has the form of a colour picture, and this bundle "
            "segments volumes; save one of that few slices as int16"
        )
    return Volume(np.array(array))


def load_array(path: Path) -> npt.NDArray[Any]:
    """Map an .npy file. ImageError if it is damaged or holds objects, which are never loaded."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ImageError(f"cannot read {printable(str(path))}: {error.strerror}") from None
    except Exception:  # noqa: BLE001 - numpy's parser of the header raises what Python's does
        raise ImageError(
            f"{path} is damaged, cut short, or no array of plain numbers: save it again with "
            "numpy.save"
        ) from None
    return array


def read_logits(path: Path, side: int) -> Floats:
    """Read logits of --save-logits for --mask-input: (L, L, L) float32. PromptError if none."""
    if suffix_of(path) != NUMPY or not path.is_file():
        raise PromptError(f"{path} is no .npy file of --save-logits, which --mask-input takes")
    array = load_array(path)
    if array.ndim == 4 and len(array) > 1:
        raise PromptError(f"{path} has {len(array)} masks: keep one of them, as array[:1]")
    if array.dtype.kind != "f" or math.prod(array.shape) != side**3 or array.shape[-1] != side:
        raise PromptError(
            f"{path} is {array.dtype} of {array.shape}, and this bundle refines logits "
            f"({side}, {side}, {side})"
        )
    logits = np.array(array, np.float32).reshape(side, side, side)
    if not np.isfinite(logits).all():
        raise PromptError(f"{path} has logits that are not finite")
    return logits


def require_mask_file(path: Path) -> None:
    """RequestError if a mask of a volume cannot be written there."""
    if not suffix_of(path):
        raise RequestError(f"{path}: the mask of a volume is a .nii.gz, .nii or .npy file")


def require_affine(path: Path, volume: Volume, source: Path) -> None:
    """RequestError if a mask file would take an affine that it cannot hold.

    Args:
        path: of the mask.
        volume: that is segmented.
        source: its file.
    """
    if suffix_of(path) not in NIFTI or volume.origin is None:
        return
    if not np.isfinite(volume.origin.affine).all():
        raise RequestError(
            f"{source} has an affine that is not finite, which {path} would take: mend its "
            "header, or write the mask to an .npy file"
        )


def mask_writer(path: Path, mask: Bools, volume: Volume) -> Callable[[], None]:
    """Prepare a mask, in the volume's turned axes, for its file: what is returned writes it."""
    own = np.ascontiguousarray(volume.turn.back(mask))
    if suffix_of(path) == NUMPY:
        return partial(write_whole, path, partial(_save, own))
    data = nifti_bytes(path, own, volume)
    return partial(write_whole, path, lambda stream: _put(stream, data))


def record_of(path: Path) -> Path:
    """Name the file that says where the cube of saved logits lies: `first.cube.json`."""
    return path.with_name(f"{stem_of(path)}.cube.json")


def save_logits(path: Path, logits: Floats, cube: Cube) -> None:
    """Write (K, L, L, L) logits, and beside them where their cube lies."""
    record = record_of(path)
    # Logits without a record are taken with care; with the record of others they would not be.
    record.unlink(missing_ok=True)
    write_whole(path, partial(_save, logits))
    data = json.dumps(asdict(cube), indent=2).encode() + b"\n"
    write_whole(record, lambda stream: _put(stream, data))


def require_same_cube(path: Path, cube: Cube) -> None:
    """PromptError unless saved logits are of that cube.

    Without a record only one cube can be meant: that of a volume no longer than it.

    Args:
        path: of the logits.
        cube: where the network is about to look.
    """
    record = record_of(path)
    if record.is_file():
        saved = _read_cube(record)
        if saved == cube:
            return
        raise PromptError(f"{path} has logits of another cube, {_differs(saved, cube)}")
    if max(cube.shape) > cube.size or cube.scale != (1.0, 1.0, 1.0):
        raise PromptError(
            f"there is no {record}, which says where the cube of {path} lies: copy it beside the "
            f"logits, or {_ONE_RUN}"
        )


def _differs(saved: Cube, cube: Cube) -> str:
    """Say in what, and what to do."""
    if saved.shape != cube.shape:
        sides = [" x ".join(map(str, each.shape)) for each in (saved, cube)]
        return (
            f"of a volume of {sides[0]} voxels, and this one has {sides[1]}: leave out --mask-input"
        )
    if saved.scale != cube.scale:
        return "resampled otherwise: give the --resample of that run, or none if it had none"
    start = [",".join(map(str, each.start)) for each in (saved, cube)]
    return f"from voxel {start[0]} on, and these clicks have theirs from {start[1]}: {_ONE_RUN}"


def _read_cube(record: Path) -> Cube:
    try:
        return msgspec.json.decode(record.read_bytes(), type=Cube)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise PromptError(
            f"{record} is damaged, and says where the cube of the logits lies: save them again"
        ) from None


def _save(array: npt.NDArray[Any], stream: BinaryIO) -> None:
    np.save(stream, array)


def _put(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
