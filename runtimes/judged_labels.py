"""Objects that a user labelled: a picture of labels, or COCO annotations.

COCO (cocodataset.org, "Data format"): `images` with `id`, `file_name`, `width` and `height`;
`categories` with `id`; `annotations` with `image_id`, `category_id` and `segmentation`, which is a
list of polygons (x, y, x, y ...), or `size` (height, width) and `counts`: lengths of runs down the
columns, outside first, as numbers or as COCO's text of five bits a letter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.preprocess import Bools
from exporter.errors import RequestError
from exporter.printable import printable
from runtimes.pictures.reading import MAX_PIXELS

MOST_BYTES = 2**28
VOID = 255
"""Value of pixels that count for nothing (Pascal VOC's borders), if there are other values."""
MOST_VALUES = 256
_RUNS = {"size", "counts"}
_MODES = ("1", "L", "P", "I", "I;16")


@dataclass(frozen=True)
class Labelled:
    """One COCO annotation of a picture: where it stands in the file, and its segmentation."""

    place: str
    size: tuple[int, int]
    segmentation: Any

    def mask(self) -> Bools:
        """Draw it, (H, W). RequestError if it is broken."""
        width, height = self.size
        if isinstance(self.segmentation, list):
            return _polygons(self.segmentation, self.size, self.place)
        if not isinstance(self.segmentation, dict) or not self.segmentation.keys() >= _RUNS:
            raise RequestError(f"{self.place}: segmentation is no polygons and no runs")
        if self.segmentation["size"] != [height, width]:
            raise RequestError(
                f"{self.place}: runs of size {printable(str(self.segmentation['size']), 40)} in a "
                f"picture of height and width {height}, {width}"
            )
        return _runs(self.segmentation["counts"], self.size, self.place)


def read_label_picture(path: Path, size: tuple[int, int]) -> list[Bools]:
    """Read the objects of a picture of labels: one for each value but 0.

    Args:
        path: a PNG of one channel.
        size: width and height of the picture that it belongs to, as it is stored.

    Raises:
        RequestError: no such picture, of another size, or of more than 256 values.
    """
    shown = printable(str(path))
    try:
        with Image.open(path) as stored:
            if stored.size != size:
                wide, tall = stored.size
                raise RequestError(
                    f"{shown} is {wide} x {tall}, and its picture {size[0]} x {size[1]}"
                )
            if stored.mode not in _MODES:
                raise RequestError(
                    f"{shown} has colours ({stored.mode}): save labels as one channel, a number "
                    "for each object"
                )
            values = np.asarray(stored)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RequestError(f"{shown} cannot be read as labels: {printable(str(error))}") from None
    found = [int(value) for value in np.unique(values) if value]
    if len(found) > MOST_VALUES:
        raise RequestError(f"{shown} has {len(found)} values: it is no picture of labels")
    kept = [value for value in found if value != VOID] or found
    return [np.asarray(values == value) for value in kept]


def read_coco(path: Path) -> dict[str, list[Labelled]]:
    """Read COCO annotations: picture's name -> its objects, in the file's order.

    Raises:
        RequestError: it is no such file, names a picture that is missing, or a category or an image
            that it does not list.
    """
    shown = printable(str(path))
    data = _load(path, shown)
    images = {row["id"]: row for row in _rows(data, "images", ("id", "file_name"), shown)}
    known = {row["id"] for row in _rows(data, "categories", ("id",), shown)}
    found: dict[str, list[Labelled]] = {}
    for row in images.values():
        name = _name(row)
        if not (path.parent / name).is_file():
            raise RequestError(f"{shown} names '{printable(name)}', which is not in that folder")
    keys = ("image_id", "category_id", "segmentation")
    for at, row in enumerate(_rows(data, "annotations", keys, shown)):
        place = f"{shown}: annotations[{at}]"
        if row["category_id"] not in known:
            category = printable(str(row["category_id"]), 40)
            raise RequestError(f"{place} is of category {category}, which the file does not list")
        if row["image_id"] not in images:
            image = printable(str(row["image_id"]), 40)
            raise RequestError(f"{place} is on image {image}, which the file does not list")
        on = images[row["image_id"]]
        labelled = Labelled(place, _size(on, shown), row["segmentation"])
        found.setdefault(_name(on), []).append(labelled)
    return found


def _load(path: Path, shown: str) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RequestError(f"{shown} has more than {MOST_BYTES >> 20} MB")
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(
            f"{shown} is no JSON that can be read: {printable(str(error))}"
        ) from None
    if not isinstance(data, dict):
        raise RequestError(f"{shown} should hold images, categories and annotations, as COCO does")
    return data


def _rows(
    data: Mapping[str, Any], name: str, keys: Sequence[str], shown: str
) -> Iterator[Mapping[str, Any]]:
    listed = data.get(name)
    if not isinstance(listed, list):
        raise RequestError(f"{shown} has no list of {name}: it is no file of COCO annotations")
    for at, row in enumerate(listed):
        missing = [key for key in keys if not isinstance(row, dict) or key not in row]
        if missing:
            raise RequestError(f"{shown}: {name}[{at}] has no {missing[0]}")
        if any(not isinstance(row[key], int | str) for key in keys if key.endswith("id")):
            raise RequestError(f"{shown}: {name}[{at}] has an id that is no number")
        yield row


def _name(image: Mapping[str, Any]) -> str:
    """The picture's name; its folder is the annotations' own."""
    return str(image["file_name"]).rpartition("/")[2]


def _size(image: Mapping[str, Any], shown: str) -> tuple[int, int]:
    sides = image.get("width"), image.get("height")
    good = all(isinstance(side, int) and side > 0 for side in sides)
    if not good or sides[0] * sides[1] > MAX_PIXELS:  # type: ignore[operator]
        name = printable(str(image["file_name"]), 80)
        raise RequestError(f"{shown}: image '{name}' has no width and height that it can have")
    return sides  # type: ignore[return-value]


def _polygons(rings: list[Any], size: tuple[int, int], place: str) -> Bools:
    mask = np.zeros(size[::-1], np.bool_)
    for ring in rings:
        numbers = isinstance(ring, list) and all(
            isinstance(each, int | float) and abs(each) < 1e6 for each in ring
        )
        if not numbers or len(ring) < 6 or len(ring) % 2:
            raise RequestError(f"{place}: a polygon should be x, y of three corners at least")
        _fill(mask, np.asarray(ring, np.float64).reshape(-1, 2))
    return mask


def _fill(mask: Bools, corners: npt.NDArray[np.float64]) -> None:
    """Set the pixels (H, W) whose centre lies in a polygon; x 0 is the first pixel's left edge."""
    (x, y), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    height, width = mask.shape
    for row in range(max(0, math.floor(y.min())), min(height, math.ceil(y.max()))):
        level = row + 0.5
        crosses = (y <= level) != (y1 <= level)
        along = (level - y[crosses]) / (y1 - y)[crosses]
        at = np.sort(x[crosses] + along * (x1 - x)[crosses])
        ends = np.ceil(at - 0.5).clip(0, width).astype(int)
        for left, right in zip(ends[::2], ends[1::2], strict=True):
            mask[row, left:right] = True


def _runs(counts: Any, size: tuple[int, int], place: str) -> Bools:
    width, height = size
    lengths = list(_letters(counts, place)) if isinstance(counts, str) else counts
    whole = isinstance(lengths, list) and all(
        isinstance(each, int) and 0 <= each <= width * height for each in lengths
    )
    if not whole or sum(lengths) != width * height:
        raise RequestError(f"{place}: its runs are not of {width * height} pixels together")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _letters(text: str, place: str) -> Iterator[int]:
    """Read COCO's text: five bits a letter, the least first.

    Each letter is 48 more than its value; 32 says that more follow, 16 in the last that the number
    is negative. A length but the first three is written as its difference to the last but one.
    """
    made: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise RequestError(f"{place}: its runs are no text that COCO writes")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        made.append(value + (made[-2] if len(made) > 2 else 0))
        yield made[-1]
        value = shift = 0
    if shift:
        raise RequestError(f"{place}: its runs end in the middle of a number")
