"""Masks as COCO run lengths, in the compressed form that pycocotools reads. numpy only."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from exporter.bundle.preprocess import Bools
from runtimes.outputs import bounding_box
from runtimes.pictures.writing import write_whole
from runtimes.video import Result

CATEGORY = 1
_FIVE_BITS, _MORE, _SIGN, _FIRST = 0x1F, 0x20, 0x10, 48


def run_lengths(mask: Bools) -> list[int]:
    """Count pixels column by column: outside, inside, outside, and so on; the first may be 0."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def compress(lengths: list[int]) -> str:
    """Spell run lengths as pycocotools does.

    From the fourth on, a length is kept as its difference from the one two before. A number is
    written five bits a character, the lowest first, with a bit for "more follow"; the sign is the
    highest bit of the last five. A character is 48 plus these.
    """
    characters = []
    for i, length in enumerate(lengths):
        left = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            bits = left & _FIVE_BITS
            left >>= 5
            more = left != (-1 if bits & _SIGN else 0)
            characters.append(chr(_FIRST + bits + (_MORE if more else 0)))
    return "".join(characters)


def segmentation(mask: Bools) -> dict[str, Any]:
    """Make `{"size": [height, width], "counts": "..."}` of a mask (H, W)."""
    return {"size": list(mask.shape), "counts": compress(run_lengths(mask))}


class CocoFile:
    """A COCO file: `images` are the frames, `annotations` the objects that are there on them.

    An annotation's `track_id` is the object's number, from 1, and `object` its name.
    """

    def __init__(self, path: Path, objects: tuple[str, ...]) -> None:
        self._path, self._numbers = path, {name: i for i, name in enumerate(objects, 1)}
        self._images: list[dict[str, Any]] = []
        self._rows: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._count = 0

    def add(self, result: Result) -> None:
        """See `Writer`."""
        height, width = result.rgb.shape[:2]
        image = len(self._images) + 1
        self._images.append(
            {
                "id": image,
                "file_name": f"{result.number:05d}.png",
                "width": width,
                "height": height,
                "frame": result.number,
                "seconds": round(result.seconds, 6),
            }
        )
        for name, one in result.found.items():
            box = bounding_box(one.mask)
            if box is None:
                continue
            self._count += 1
            row = {
                "id": self._count,
                "image_id": image,
                "category_id": CATEGORY,
                "track_id": self._numbers[name],
                "object": name,
                "segmentation": segmentation(one.mask),
                "area": int(one.mask.sum()),
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "iscrowd": 0,
                "score": one.score,
            }
            self._rows.write(json.dumps(row) + "\n")

    def commit(self) -> None:
        """See `Writer`."""
        write_whole(self._path, self._write)
        self.discard()

    def discard(self) -> None:
        """See `Writer`."""
        with contextlib.suppress(OSError):
            self._rows.close()

    def _write(self, stream: BinaryIO) -> None:
        head = {
            "info": {"description": "written by sam-run"},
            "images": self._images,
            "categories": [{"id": CATEGORY, "name": "object"}],
        }
        stream.write(json.dumps(head)[:-1].encode())
        stream.write(b', "annotations": [')
        self._rows.seek(0)
        for i, row in enumerate(self._rows):
            stream.write((b",\n" if i else b"\n") + row.rstrip("\n").encode())
        stream.write(b"\n]}\n")
