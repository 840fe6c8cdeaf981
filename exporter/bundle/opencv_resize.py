"""OpenCV's bilinear resize of bytes (INTER_LINEAR), number for number. numpy only.

It is not antialiased, and it rounds more than once: weights are whole numbers of 2048ths, and the
vertical pass cuts off bits twice. An image that is half a level off still segments alike, but then
no test could tell a wrong rule from the right one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]

ONE = 2048
"""A weight of 1, in 2048ths."""


def opencv_bilinear(image: Bytes, width: int, height: int) -> Bytes:
    """Resize (H, W, C) to (height, width, C), both uint8.

    Horizontally, `row = left * wl + right * wr`, exact. Vertically,
    `(((row_above >> 4) * wa >> 16) + ((row_below >> 4) * wb >> 16) + 2) >> 2`.
    """
    left, right, where = _neighbours(image.shape[1], width)
    # Beyond the centre of the outermost pixel, that pixel alone counts.
    where = np.where(left < 0, np.float32(0), where)
    near, far = _weights(where)
    last = image.shape[1] - 1
    columns = image.astype(np.int64)
    rows: Whole = (
        columns[:, np.clip(left, 0, last)] * near[:, None]
        + columns[:, np.clip(right, 0, last)] * far[:, None]
    )
    above, below, where = _neighbours(image.shape[0], height)
    near, far = _weights(where)
    last = image.shape[0] - 1
    # The two halves lose their bits separately, even if both are the same row.
    upper = ((rows[np.clip(above, 0, last)] >> 4) * near[:, None, None]) >> 16
    lower = ((rows[np.clip(below, 0, last)] >> 4) * far[:, None, None]) >> 16
    return np.asarray((upper + lower + 2) >> 2, np.uint8)


def _neighbours(old: int, new: int) -> tuple[Whole, Whole, npt.NDArray[np.float32]]:
    """Both neighbours of every new pixel, and its distance from the first."""
    scale = 1.0 / (new / old)
    position = ((np.arange(new) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    return first, first + 1, position - first.astype(np.float32)


def _weights(where: npt.NDArray[np.float32]) -> tuple[Whole, Whole]:
    far = np.rint(where * ONE).astype(np.int64)
    near = np.rint((np.float32(1) - where) * ONE).astype(np.int64)
    return near, far
