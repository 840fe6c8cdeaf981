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
    require_mask_format,
    require_picture_format,
    require_size,
    require_writable,
    save_mask,
    save_picture,
    write_whole,
)

_WIDE = (".png", ".tif", ".tiff")


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
    shown = overlay_path or labels.with_name(f"{labels.stem}.overlay.png")
    files = Files(labels, labels.with_suffix(".json"), shown)
    for path in files.all:
        require_writable(path)
    require_mask_format(labels)
    if labels.suffix.lower() not in _WIDE:
        raise RequestError(f"{labels} should end in .png: labels may need 16 bits")
    require_picture_format(shown)
    paths = {path.absolute() for path in (image, *files.all)}
    if len(paths) < 1 + len(files.all):
        raise RequestError(
            f"IMAGE, --panoptic, its .json ({files.classes}) and -o should be different files"
        )
    return files


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
    save_picture(files.overlay, drawn(picture.rgb, found))


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
        yield "nothing was found: no class is sure enough"
    for each in found.segments:
        yield f"{each.number}: {each.name}, score {each.score:.3f}, {each.area} pixels"
