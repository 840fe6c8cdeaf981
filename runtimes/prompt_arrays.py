"""Prompts from a user's arrays and lists. numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exporter.bundle.prompts import Prompts
from exporter.errors import PromptError


def as_prompts(
    points: npt.ArrayLike | None, labels: npt.ArrayLike | None, box: npt.ArrayLike | None
) -> Prompts:
    """Make one prompt set from a user's arrays or lists. PromptError names a wrong shape."""
    xy = _numbers([] if points is None else points, "points", (-1, 2))
    kinds = _numbers([] if labels is None else labels, "labels", (-1,))
    odd = [label for label in kinds.tolist() if label not in (0.0, 1.0)]
    if odd:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {odd[0]:g}")
    corners = None if box is None else tuple(_numbers(box, "box", (4,)).tolist())
    return Prompts(
        points=tuple((float(x), float(y)) for x, y in xy),
        labels=tuple(int(label) for label in kinds),
        box=None if corners is None else (corners[0], corners[1], corners[2], corners[3]),
    )


def _numbers(values: npt.ArrayLike, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise PromptError(f"{name} are not numbers: {values!r}") from None
    if array.size == 0 and -1 in shape:
        return array.reshape([0 if n == -1 else n for n in shape])
    fits = len(array.shape) == len(shape) and all(
        want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("n" if n == -1 else str(n) for n in shape)
        raise PromptError(f"{name} should be {wanted} numbers, not an array of {array.shape}")
    return array
