"""What a panoptic run writes and prints: labels, their classes, a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from exporter.bundle.panoptic import Segments
from exporter.errors import RequestError
from runtimes.panoptic.drawing import drawn
from runtimes.pictures import Picture
from runtimes.pictures.writing import (
    require_picture_format,
    require_size,
    require_writable,
    save_mask,
    save_picture,
    write_whole,
)

_WIDE = (".png", ".tif", ".tiff")
_KEYS = frozenset({"id", "class", "name", "thing", "score", "area"})
_MOST_BYTES = 64 << 20
"""Of a table; of 65,535 segments with the longest names it has less."""
_SAYS = "sam-run --panoptic"
_BEGINNING = 512


@dataclass(frozen=True)
class Files:
    """Files to write: labels, their classes as JSON, and the picture with both."""

    labels: Path
    classes: Path
    overlay: Path

    @property
    def all(self) -> list[Path]:
        """In the order they are written."""
        return [self.labels, self.classes, self.overlay]


def files_of(labels: Path, overlay_path: Path | None, image: Path) -> Files:
    """Name the files. RequestError, before any work, if one cannot be written."""
    require_writable(labels)
    shown = overlay_path or labels.with_name(f"{labels.stem}.overlay.png")
    files = Files(labels, labels.with_suffix(".json"), shown)
    for path in (files.classes, shown):
        require_writable(path)
    if labels.suffix.lower() not in _WIDE:
        raise RequestError(
            f"{labels} should end in .png or .tif: a number a pixel may need 16 bits"
        )
    require_picture_format(shown)
    paths = {path.absolute() for path in (image, *files.all)}
    if len(paths) < 1 + len(files.all):
        raise RequestError(
            f"IMAGE, --panoptic, its .json ({files.classes}) and -o should be different files"
        )
    _require_ours(files, overlay_named=overlay_path is not None)
    return files


def _require_ours(files: Files, *, overlay_named: bool) -> None:
    """RequestError if a file that the user did not name would replace another than a former run's.

    What is named is replaced, as by every option.
    """
    if files.classes.exists() and not _is_table(files.classes):
        raise RequestError(
            f"{files.classes} is not a table that --panoptic wrote, and would be replaced: give "
            "--panoptic another name"
        )
    if not overlay_named and files.overlay.exists() and not _is_marked(files.overlay):
        raise RequestError(
            f"{files.overlay} is not a picture that --panoptic wrote, and would be replaced: name "
            "the overlay with -o"
        )


def _is_table(path: Path) -> bool:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return False
        table = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    rows = table.get("segments") if isinstance(table, dict) and len(table) == 1 else None
    return isinstance(rows, list) and all(isinstance(r, dict) and r.keys() == _KEYS for r in rows)


def _is_marked(path: Path) -> bool:
    """Tell whether a PNG begins with the text that `write` puts into it."""
    try:
        with path.open("rb") as stream:
            return f"Description\0{_SAYS}".encode() in stream.read(_BEGINNING)
    except OSError:
        return False


def check_size(files: Files, picture: Picture) -> None:
    """RequestError if a format cannot hold a picture of that size."""
    require_size(files.labels, picture.size)
    require_size(files.overlay, (picture.rgb.shape[1], picture.rgb.shape[0]))


def write(files: Files, picture: Picture, found: Segments) -> None:
    """Write all of them."""
    few = len(found.segments) < 256
    labels = found.labels.astype(np.uint8) if few else found.labels
    save_mask(files.labels, Image.fromarray(labels))
    text = json.dumps(described(found), indent=2).encode() + b"\n"
    write_whole(files.classes, partial(_put, text))
    save_picture(files.overlay, drawn(picture.rgb, found), _SAYS)


def _put(text: bytes, stream: BinaryIO) -> None:
    stream.write(text)


def described(found: Segments) -> dict[str, Any]:
    """Describe the segments as data: `id` is a pixel's value in the labels, 0 is none."""
    rows = []
    for segment in found.segments:
        row = asdict(segment)
        rows.append({"id": row.pop("number"), "class": row.pop("label"), **row})
    return {"segments": rows}


def lines(found: Segments) -> Iterator[str]:
    """Describe the segments for a reader, a line each."""
    if not found.segments:
        yield f"nothing was found: {_why_nothing(found.sure)}"
    for each in found.segments:
        yield f"{each.number}: {each.name}, score {each.score:.3f}, {each.area} pixels"


def _why_nothing(sure: int) -> str:
    if not sure:
        return "no mask is sure enough of a class"
    masks = "1 mask is" if sure == 1 else f"{sure} masks are"
    return f"{masks} sure of a class, but too much of each is another mask's, or it is empty"
