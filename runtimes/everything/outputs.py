"""What everything writes and prints: an overlay, labels, COCO annotations, a table."""

from __future__ import annotations

import colorsys
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from exporter.bundle.preprocess import Bytes
from exporter.errors import RequestError
from runtimes.everything.segments import Everything, Segment
from runtimes.outputs import finite
from runtimes.pictures.writing import (
    require_picture_format,
    require_writable,
    save_mask,
    save_picture,
    write_whole,
)

_TINT = 0.5
_BAND = 512  # rows
_UNFILTERED = ("detector", "object_aware")


@dataclass(frozen=True)
class Files:
    """Files to write; None is not written."""

    overlay: Path | None
    labels: Path | None
    coco: Path | None

    @property
    def asked(self) -> list[Path]:
        """Those that are written."""
        return [path for path in (self.overlay, self.labels, self.coco) if path is not None]


def check_files(files: Files, image: Path) -> None:
    """RequestError, before any work, if a file cannot be written or is named twice."""
    for path in files.asked:
        require_writable(path)
    paths = [image.absolute(), *(path.absolute() for path in files.asked)]
    if len(set(paths)) < len(paths):
        raise RequestError("IMAGE, -o, --flatten and --coco should be different files")
    if files.overlay is not None:
        require_picture_format(files.overlay)
    # Other formats hold colours, change them, or have no 16 bits.
    if files.labels is not None and files.labels.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise RequestError(
            f"{files.labels} should end in .png or .tif: a number a pixel may need 16 bits"
        )
    if files.coco is not None and files.coco.suffix.lower() != ".json":
        raise RequestError(f"{files.coco} should end in .json")


def writers(
    files: Files, image: Path, rgb: Bytes, found: Everything
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Tell how each file asked for is written, the one of all masks first.

    Pictures of a partial result have a text that says so, in formats that have texts.
    """
    says = described(found) if found.partial else ""
    labels = cache(found.labels)

    def write_coco(path: Path) -> None:
        text = json.dumps(coco(found, image.name)).encode()
        write_whole(path, lambda stream: _put(stream, text))

    def write_labels(path: Path) -> None:
        numbers = labels().astype(np.uint8) if len(found) < 256 else labels()
        save_mask(path, Image.fromarray(numbers), says)

    def write_overlay(path: Path) -> None:
        save_picture(path, Image.fromarray(overlay(rgb, labels())), says)

    if files.coco is not None:
        yield files.coco, partial(write_coco, files.coco)
    if files.labels is not None:
        yield files.labels, partial(write_labels, files.labels)
    if files.overlay is not None:
        yield files.overlay, partial(write_overlay, files.overlay)


def _put(stream: Any, text: bytes) -> None:
    stream.write(text)


def overlay(rgb: Bytes, labels: npt.NDArray[np.uint16]) -> Bytes:
    """Tint each label in a colour of its own, with a light line where labels meet."""
    colours = np.array([(0, 0, 0), *map(_colour, range(int(labels.max())))], np.float32)
    drawn = rgb.copy()
    for top in range(0, len(rgb), _BAND):
        rows = slice(top, top + _BAND)
        part, seen = labels[rows], rgb[rows].astype(np.float32)
        mixed = seen + (colours[part] - seen) * np.float32(_TINT)
        drawn[rows] = np.where(part[..., None] > 0, mixed, seen).astype(np.uint8)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    drawn[1:][down] = 255
    drawn[:, 1:][right] = 255
    return drawn


def _colour(index: int) -> tuple[float, float, float]:
    """Hues a golden section apart are easy to tell."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618 % 1.0, 0.8, 1.0)
    return 255 * red, 255 * green, 255 * blue


def coco(found: Everything, name: str) -> dict[str, Any]:
    """Make a COCO data set of one image; `bbox` there is COCO's, whose sides count pixels."""
    height, width = found.size
    return {
        "info": {"description": described(found), "partial": found.partial},
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [_annotation(at + 1, segment) for at, segment in enumerate(found)],
    }


def _annotation(number: int, segment: Segment) -> dict[str, Any]:
    x, y, width, height = segment.bbox
    sides = 1 if segment.area else 0
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": segment.coco,
        "area": segment.area,
        "bbox": [x, y, width + sides, height + sides],
        "score": finite(segment.predicted_iou),
        **_scores(segment),
    }


def _scores(segment: Segment) -> dict[str, Any]:
    return {
        "predicted_iou": finite(segment.predicted_iou),
        "stability_score": finite(segment.stability_score),
        "point_coords": segment.point_coords and list(segment.point_coords),
        "crop_box": list(segment.crop_box),
    }


def described(found: Everything) -> str:
    """Say in a line what was found, and whether that is all."""
    asked = found.asked
    many = _counted(len(found), "mask")
    if found.method == "detector":
        return f"{many} by detector"
    line = f"{many} by {found.method.replace('_', '-')}: {_counted(asked.prompts, 'prompt')}"
    if found.partial:
        line = f"partial: {line} of {asked.planned}"
    return line


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def lines(found: Everything) -> Iterator[str]:
    """Describe the result for a reader, a line each."""
    yield described(found)
    left = found.left
    if left.candidates and found.method not in _UNFILTERED:
        chain = [
            f"{left.candidates} candidates",
            f"{left.after_iou} by predicted IoU",
            f"{left.after_stability} stable",
        ]
        if left.after_edges != left.after_stability:
            chain.append(f"{left.after_edges} inside their crop")
        yield f"  {', '.join(chain)}, {len(found)} kept"
    for stage, seconds in found.seconds.items():
        yield f"  {stage.replace('_', ' '):<14}{seconds:8.2f} s"
    yield f"  {'together':<14}{sum(found.seconds.values()):8.2f} s"


def report(found: Everything) -> dict[str, Any]:
    """Describe the result as data."""
    return {
        "method": found.method.replace("_", "-"),
        "partial": found.partial,
        "count": len(found),
        "asked": asdict(found.asked),
        "left": _left(found),
        "seconds": {stage: round(seconds, 4) for stage, seconds in found.seconds.items()},
        "notes": list(found.notes),
        "masks": [{"area": each.area, "bbox": list(each.bbox), **_scores(each)} for each in found],
    }


def _left(found: Everything) -> dict[str, Any]:
    """Count what each filter left; None for one that the method does not have."""
    left = asdict(found.left)
    if found.method in _UNFILTERED:
        left |= dict.fromkeys(("after_iou", "after_stability", "after_edges"))
    return left
