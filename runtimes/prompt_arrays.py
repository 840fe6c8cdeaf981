"""Prompts from a user's arrays and lists. numpy only."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from exporter.bundle.prompts import Prompts
from exporter.errors import PromptError
from exporter.printable import printable, quote

_PUBLISHED = {
    "point_coords": "points",
    "point_labels": "labels",
    "multimask_output": "multimask",
    "boxes": "box",
    "input_boxes": "box",
    "mask_inputs": "mask_input",
}
"""Words of the published predictors -> ours."""
_OURS = ("points", "labels", "box", "mask_input", "multimask")


def as_prompts(
    points: npt.ArrayLike | None, labels: npt.ArrayLike | None, box: npt.ArrayLike | None
) -> Prompts:
    """Make one prompt set from a user's arrays or lists. PromptError names a wrong shape."""
    xy = _numbers([] if points is None else points, "points")
    if xy.shape == (2,):
        xy = xy[None]
    kinds = np.atleast_1d(_numbers([] if labels is None else labels, "labels"))
    corners = None if box is None else _numbers(box, "box")
    if xy.size and (xy.ndim != 2 or xy.shape[1] != 2):
        raise _shape("points", "n x 2", xy)
    if kinds.ndim != 1 and kinds.size:
        raise _shape("labels", "n", kinds)
    odd = [label for label in kinds.ravel().tolist() if label not in (0.0, 1.0)]
    if odd:
        raise PromptError(f"a point's label is 1 (foreground) or 0 (background), not {odd[0]:g}")
    # The published predictors take both.
    if corners is not None and corners.shape[1:] == (4,) and len(corners) > 1:
        raise PromptError(f"box holds {len(corners)} boxes: predict_many takes several objects")
    if corners is not None and corners.shape not in ((4,), (1, 4)):
        raise _shape("box", "4", corners)
    return Prompts(
        points=tuple((float(x), float(y)) for x, y in xy.reshape(-1, 2)),
        labels=tuple(int(label) for label in kinds.ravel()),
        box=None if corners is None else _four(corners.ravel().tolist()),
    )


def as_sets(given: Iterable[Prompts]) -> tuple[Prompts, ...]:
    """Check that what a user gives are prompt sets. PromptError names what is none."""
    if isinstance(given, Prompts) or not isinstance(given, Iterable):
        raise PromptError(
            f"predict_many takes a list of Prompts, one for each object, not {quote(given)}"
        )
    sets = tuple(given)
    for each in sets:
        if not isinstance(each, Prompts):
            raise PromptError(
                "predict_many takes a Prompts for each object, as Prompts(box=(X0, Y0, X1, Y1)), "
                f"not {quote(each)}"
            )
    return tuple(as_prompts(each.points, each.labels, each.box) for each in sets)


def refuse_others(names: Iterable[str]) -> None:
    """PromptError for an argument that `predict` does not have, with ours for a published one."""
    for name in names:
        ours = _PUBLISHED.get(name)
        cure = f"it is called {ours} here" if ours else f"it takes {', '.join(_OURS)}"
        raise PromptError(f"predict has no {printable(name)}: {cure}")


def _four(numbers: list[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = numbers
    return x0, y0, x1, y1


def _shape(name: str, wanted: str, array: npt.NDArray[np.float64]) -> PromptError:
    return PromptError(f"{name} should be {wanted} numbers, not an array of {array.shape}")


def _numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    # Tensors of other libraries refuse with errors of their own.
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "buif":
            array = np.asarray([]) if array.size == 0 else np.asarray(values, np.float64)
        return np.asarray(array, np.float64)
    except Exception:  # noqa: BLE001
        raise PromptError(f"{name} are not numbers: {printable(reprlib.repr(values))}") from None
