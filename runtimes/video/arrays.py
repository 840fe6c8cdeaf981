"""Arrays of all frames in one .npz. They are spooled to disk, so no video is too long. numpy only.

| array | shape | |
| --- | --- | --- |
| `low_res_masks` | (frames, objects, h, w) | logits; -1024 of an object that is not there |
| `masks` | (frames, objects, H, W) | 1 inside, 0 outside |
| `object_score_logits` | (frames, objects) | NaN before the object's first frame |
| `frames` | (frames,) | int64: numbers of the frames |
| `objects` | (objects,) | names |

float32 but for the last two.
"""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from exporter.errors import ExportError
from runtimes.pictures.writing import write_whole
from runtimes.video import Result

_LEVEL = 1
"""Of compression: masks shrink a thousandfold at any."""


class ArraysFile:
    """See the top.

    Args:
        path: ends in .npz.
        objects: names, in the order of the second axis.
        side: of `low_res_masks`.
        absent: logit of an object that was not looked for yet.
    """

    def __init__(self, path: Path, objects: tuple[str, ...], side: int, absent: float) -> None:
        self._path, self._objects, self._side, self._absent = path, objects, side, absent
        # Beside the file, where there has to be room for it.
        self._logits: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._masks: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        self._scores: list[list[float]] = []
        self._frames: list[int] = []
        self._size = (0, 0)

    def add(self, result: Result) -> None:
        """See `Writer`."""
        self._size = result.rgb.shape[:2]
        none = np.full((self._side, self._side), self._absent, np.float32)
        found = [result.found.get(name) for name in self._objects]
        logits = [none if one is None else one.low_res_mask for one in found]
        masks = [np.zeros(self._size, bool) if one is None else one.mask for one in found]
        try:
            self._logits.write(np.stack(logits).astype("<f4").tobytes())
            self._masks.write(np.packbits(np.stack(masks)).tobytes())
        except OSError as error:
            raise ExportError(f"no room to keep arrays for {self._path}: {error}") from None
        self._scores.append([np.nan if one is None else one.score for one in found])
        self._frames.append(result.number)

    def commit(self) -> None:
        """See `Writer`."""
        write_whole(self._path, self._write)
        self.discard()

    def discard(self) -> None:
        """See `Writer`."""
        for spool in (self._logits, self._masks):
            with contextlib.suppress(OSError):
                spool.close()

    def _write(self, stream: BinaryIO) -> None:
        shape = (len(self._frames), len(self._objects))
        small = {
            "object_score_logits": np.array(self._scores, np.float32).reshape(shape),
            "frames": np.array(self._frames, np.int64),
            "objects": np.array(self._objects),
        }
        large: dict[str, tuple[tuple[int, int], Iterator[bytes]]] = {
            "low_res_masks": ((self._side, self._side), self._logit_rows()),
            "masks": (self._size, self._mask_rows()),
        }
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
            for name, (sides, rows) in large.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    header = {"descr": "<f4", "fortran_order": False, "shape": (*shape, *sides)}
                    np.lib.format.write_array_header_1_0(entry, header)  # type: ignore[no-untyped-call]
                    for row in rows:
                        entry.write(row)
            for name, array in small.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.lib.format.write_array(entry, array, allow_pickle=False)  # type: ignore[no-untyped-call]

    def _logit_rows(self) -> Iterator[bytes]:
        self._logits.seek(0)
        for _ in self._frames:
            yield self._logits.read(4 * len(self._objects) * self._side**2)

    def _mask_rows(self) -> Iterator[bytes]:
        self._masks.seek(0)
        pixels = len(self._objects) * self._size[0] * self._size[1]
        for _ in self._frames:
            packed = np.frombuffer(self._masks.read(-(-pixels // 8)), np.uint8)
            yield np.unpackbits(packed, count=pixels).astype("<f4").tobytes()
