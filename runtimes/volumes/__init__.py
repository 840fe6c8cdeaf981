"""Volumes in files, and `sam-run` on them. numpy; nibabel alone for NIfTI (`sam-export[volumes]`).

A volume is turned to the network's orientation when it is read, and masks are turned back when they
are written: whoever gives and gets voxels means those of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.bundle.preprocess import Bools
from exporter.bundle.voxels import Shape, Voxel

Values = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Turn:
    """By whole axes from a file's array to the network's orientation.

    Attributes:
        order: for each axis of the turned array, the file's axis that it is.
        flipped: for each axis of the turned array, whether it runs against the file's.
    """

    order: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[bool, bool, bool] = (False, False, False)

    def values(self, array: Values) -> Values:
        """(X, Y, Z) as in the file -> turned, a view."""
        turned = array.transpose(self.order)
        return turned[self._steps()]

    def back(self, mask: Bools) -> Bools:
        """Undo `values`."""
        found: Bools = mask[self._steps()].transpose(np.argsort(self.order))
        return found

    def voxel(self, point: Voxel, shape: Shape) -> Voxel:
        """A voxel of the file -> of the turned array; `shape` is the turned one's."""
        moved = [point[axis] for axis in self.order]
        ends = zip(moved, self.flipped, shape, strict=True)
        x, y, z = (side - 1 - at if flip else at for at, flip, side in ends)
        return x, y, z

    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)


@dataclass(frozen=True)
class Volume:
    """A volume that was read.

    Attributes:
        values: (X, Y, Z), in the network's orientation if the file tells its own.
        turn: from the file's array to `values`.
        spacing: millimetres along each axis of `values`; None if the file does not tell.
        oriented: whether the file tells its orientation.
        origin: nibabel's image, whose header and affine a mask takes; None of an .npy file.
        notes: sentences on it that a user may want to know.
    """

    values: Values
    turn: Turn = Turn()
    spacing: tuple[float, float, float] | None = None
    oriented: bool = False
    origin: Any = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Sides of `values`."""
        x, y, z = self.values.shape
        return x, y, z

    @property
    def own_shape(self) -> Shape:
        """Sides of the file's array."""
        x, y, z = (self.shape[axis] for axis in np.argsort(self.turn.order))
        return x, y, z
