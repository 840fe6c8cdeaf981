"""NIfTI files by nibabel, an optional package: the only module that imports it."""

from __future__ import annotations

import gzip
import importlib
import logging
import math
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from exporter.bundle.preprocess import Bools
from exporter.errors import ImageError, RequestError
from runtimes.volumes import Turn, Volume

MOST_VOXELS = 2**29
"""Of a file that is read: 512 x 512 x 2048; larger ones are refused before they are."""
_NEAR_ZERO = 1e-6
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
"""Of the header's units of length: metre, millimetre, micron; unknown ones are millimetres."""
_LENGTH = 0b111
"""The bits of `xyzt_units` that tell the unit of length."""
_BROKEN = (OSError, EOFError, ValueError, zlib.error, OverflowError, KeyError, TypeError)


def read_nifti(path: Path) -> Volume:
    """Read a .nii or .nii.gz file and turn it to RAS by whole axes.

    Raises:
        RequestError: nibabel is not installed.
        ImageError: it is damaged, has not three axes, or holds no numbers.
    """
    nibabel = _nibabel()
    refusals = _refusals(nibabel)
    try:
        image = nibabel.load(path)
        shape, kind = tuple(map(int, image.shape)), image.header.get_data_dtype().kind
    except refusals:
        raise ImageError(f"{path} is no NIfTI file, or is damaged: copy it again") from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    require_axes(path, shape)
    if kind not in "buif":
        raise ImageError(f"{path} holds colours or complex numbers, not one number a voxel")
    try:
        values = np.asanyarray(image.dataobj).reshape(shape)
    except _BROKEN:
        raise ImageError(f"{path} is damaged: its voxels are cut short; copy it again") from None
    turn, oriented = _turn(nibabel, image)
    return Volume(
        turn.values(values),
        turn,
        _spacing(image, turn, oriented),
        oriented,
        image,
        _notes(path, oriented),
    )


def require_axes(path: Path, shape: tuple[int, ...]) -> None:
    """ImageError unless a volume has three axes, of one voxel at least and not too many."""
    if 0 in shape:
        raise ImageError(f"{path} has no voxels: {shape}")
    if len(shape) != 3:
        many = f"{len(shape)} axes {shape}" if shape else "no axes"
        cure = "a series: give one of its volumes" if len(shape) > 3 else "a volume has three"
        raise ImageError(f"{path} has {many}: {cure}")
    if math.prod(shape) > MOST_VOXELS:
        count = math.prod(shape)
        raise ImageError(f"{path} has {count} voxels, and {MOST_VOXELS} at most are read")


def nifti_bytes(path: Path, mask: Bools, volume: Volume) -> bytes:
    """A mask as a NIfTI file of 0 and 1, with the affine of the volume's file.

    Args:
        path: of the mask, whose suffix tells whether it is compressed.
        mask: in the axes of the volume's file.
        volume: from an .npy file: a voxel is then a millimetre.
    """
    nibabel = _nibabel()
    values = mask.astype(np.uint8)
    origin = volume.origin
    if origin is None:
        made = nibabel.Nifti1Image(values, np.eye(4))
    else:
        header = origin.header.copy()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        shape = origin.shape
        made = type(origin)(values.reshape(shape), origin.affine, header)
    data: bytes = made.to_bytes()
    return gzip.compress(data, mtime=0) if path.suffix.lower() == ".gz" else data


def _notes(path: Path, oriented: bool) -> tuple[str, ...]:  # noqa: FBT001
    if oriented:
        return ()
    return (f"{path} does not tell its orientation: its axes are taken as right, front, head",)


def _turn(nibabel: ModuleType, image: Any) -> tuple[Turn, bool]:
    """By whole axes to RAS; as it is where the header has no form, or a broken one."""
    told = any(int(image.header[name]) > 0 for name in ("qform_code", "sform_code"))
    affine = np.asarray(image.affine, np.float64)
    if not told or not np.isfinite(affine).all():
        return Turn(), False
    found = nibabel.orientations.io_orientation(affine)
    if not np.isfinite(found).all():
        return Turn(), False
    # Row i: the patient's axis that the file's axis i runs along, and its sign.
    x, y, z = np.argsort(found[:, 0]).tolist()
    a, b, c = (bool(found[axis, 1] < 0) for axis in (x, y, z))
    return Turn((x, y, z), (a, b, c)), True


def _spacing(
    image: Any,
    turn: Turn,
    oriented: bool,  # noqa: FBT001
) -> tuple[float, float, float] | None:
    """Millimetres along each turned axis; None if the header does not tell them."""
    unit = int(image.header["xyzt_units"]) & _LENGTH
    zooms = [float(each) for each in image.header.get_zooms()[:3]]
    if len(zooms) < 3 or not all(math.isfinite(each) and each > _NEAR_ZERO for each in zooms):
        return None
    if not oriented and unit == 0 and zooms == [1.0, 1.0, 1.0]:
        return None  # what a writer that knows no size leaves there
    x, y, z = (zooms[axis] * _MILLIMETRES.get(unit, 1.0) for axis in turn.order)
    return x, y, z


def _refusals(nibabel: ModuleType) -> tuple[type[Exception], ...]:
    """What reading raises for a file that nibabel does not take."""
    own: tuple[type[Exception], ...] = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
    )
    return (*_BROKEN, *own)


def _nibabel() -> ModuleType:
    try:
        nibabel = importlib.import_module("nibabel")
    except ModuleNotFoundError:
        raise RequestError(
            "NIfTI files are read by nibabel: pip install 'sam-export[volumes]'; an .npy file "
            "needs nothing"
        ) from None
    # It writes what it mends in a header to stderr, in words for programmers.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)
    return nibabel
