"""Some frames of a run side by side, spread evenly whenever it ends. Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from runtimes.overlay import add_caption, side_by_side
from runtimes.pictures.writing import save_picture
from runtimes.video import Result
from runtimes.video.drawing import draw

PANELS = 6
_SIDE = 360
"""The longest side of a panel."""


class Strip:
    """Holds two dozen small pictures at most: every frame's, then every second's, and so on."""

    def __init__(self, path: Path, objects: tuple[str, ...]) -> None:
        self._path, self._objects = path, objects
        self._held: list[Image.Image] = []
        self._step, self._count = 1, 0

    def add(self, result: Result) -> None:
        """See `Writer`."""
        if self._count % self._step == 0:
            self._held.append(self._panel(result))
        self._count += 1
        if len(self._held) > 4 * PANELS:
            self._held, self._step = self._held[::2], 2 * self._step

    def commit(self) -> None:
        """See `Writer`."""
        if not self._held:
            return
        chosen = np.unique(np.linspace(0, len(self._held) - 1, PANELS).round().astype(int))
        save_picture(self._path, side_by_side([self._held[i] for i in chosen]))

    def discard(self) -> None:
        """See `Writer`."""
        self._held.clear()

    def _panel(self, result: Result) -> Image.Image:
        panel = draw(result, self._objects)
        panel.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return add_caption(panel, f"frame {result.number}, {result.seconds:.2f} s")
