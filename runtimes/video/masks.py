"""A folder of palette PNGs, one a frame: 0 is nothing, 1 the first object, and so on."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.errors import ExportError, RequestError
from exporter.printable import printable
from runtimes.overlay import colour_of
from runtimes.video import Result

MOST = 255
"""Objects that a palette can tell apart."""


class MaskFolder:
    """The folder appears when the run has ended. The first of overlapping objects has the pixel.

    Raises:
        RequestError: there is something in it already.
    """

    def __init__(self, path: Path, objects: tuple[str, ...]) -> None:
        require_new(path)
        self._path, self._objects = path, objects
        self._partial = path.with_name(f".{path.name[:40]}.partial-{secrets.token_hex(8)}")
        self._palette = [0, 0, 0]
        for i in range(len(objects)):
            self._palette += colour_of(i)
        try:
            self._partial.mkdir()
        except OSError as error:
            raise RequestError(f"cannot write {printable(str(path))}: {error.strerror}") from None

    def add(self, result: Result) -> None:
        """See `Writer`."""
        indices = np.zeros(result.rgb.shape[:2], np.uint8)
        for i, name in reversed([*enumerate(self._objects, 1)]):
            if name in result.found:
                indices[result.found[name].mask] = i
        picture = Image.fromarray(indices)
        picture.putpalette(self._palette)
        try:
            picture.save(self._partial / f"{result.number:05d}.png")
        except OSError as error:
            raise self._failed(error) from None

    def commit(self) -> None:
        """See `Writer`."""
        try:
            if self._path.exists():
                self._path.rmdir()
            self._partial.replace(self._path)
        except OSError as error:
            self.discard()
            raise self._failed(error) from None

    def discard(self) -> None:
        """See `Writer`."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _failed(self, error: OSError) -> ExportError:
        return ExportError(f"cannot write {printable(str(self._path))}: {error.strerror or error}")


def require_new(path: Path) -> None:
    """RequestError if a folder to write is there and not empty, or is no folder."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        what = "holds files" if path.is_dir() else "is no folder"
        raise RequestError(f"{printable(str(path))} {what}: --mask of a video names a new folder")
