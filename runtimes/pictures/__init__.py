"""Picture files and arrays in, whatever their form; files out, whole or not at all.

reading.py    a file -> Picture
pixels.py     what Pillow opened -> bytes
depth.py      more than 8 bits -> bytes
arrays.py     what a Python caller holds -> Picture
kinds.py      a file's kind from its first bytes, to name what cannot be read
writing.py    files that appear whole, in formats that hold them
"""

from __future__ import annotations

from dataclasses import dataclass

from exporter.bundle.preprocess import Bytes


@dataclass(frozen=True)
class Picture:
    """A picture as bytes.

    Attributes:
        rgb: (h, w, 3) uint8, upright.
        size: width and height of the picture that prompts and masks are in; larger than `rgb` if
            that was decoded at a part of its size.
        notes: sentences for the reader about what was done to it; mostly none.
    """

    rgb: Bytes
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
