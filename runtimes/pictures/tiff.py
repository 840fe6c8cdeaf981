"""What the directory of a TIFF says about its picture."""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

# Tags: https://www.loc.gov/preservation/digital/formats/content/tiff_tags.shtml
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 254, 256, 257, 258, 259, 277
_SUB_DIRECTORIES, _SAMPLE_FORMAT, _DNG_VERSION = 330, 339, 50706
_OFFSETS, _SIZES = (273, 324), (279, 325)
_FORMATS = {1: "unsigned", 2: "signed", 3: "float", 5: "complex", 6: "complex"}
_REDUCED = 1


def is_preview(stored: Image.Image) -> bool:
    """Tell whether the first picture is the preview of a camera's raw file (DNG, NEF, ARW)."""
    tags = getattr(stored, "tag_v2", None)
    if stored.format != "TIFF" or tags is None:
        return False
    if _DNG_VERSION in tags:
        return True
    kind = tags.get(_SUBFILE, 0)
    return isinstance(kind, int) and bool(kind & _REDUCED) and _SUB_DIRECTORIES in tags


def form_of(path: Path) -> str | None:
    """Describe how a TIFF stores its pixels; None if its directory or pixels are not all there."""
    from PIL import TiffImagePlugin

    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # Pillow's, of a directory that is damaged
            header = stream.read(8)
            if header[2:3] in (b"\x2b", b"\0") and b"\x2b" in header[2:4]:
                header += stream.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            stream.seek(tags.next)
            tags.load(stream)
            values = {number: tags[number] for number in tags}
    # A damaged directory raises whatever its bytes make of it.
    except Exception:  # noqa: BLE001
        return None
    if not {_WIDTH, _HEIGHT} <= set(values) or _missing(values, path.stat().st_size):
        return None
    bits = values.get(_BITS, 1)
    widths = sorted(set(bits)) if isinstance(bits, tuple) else [bits]
    formats = values.get(_SAMPLE_FORMAT, 1)
    first = formats[0] if isinstance(formats, tuple) else formats
    return (
        f"{values.get(_SAMPLES, 1)} x {'/'.join(map(str, widths))} bits, "
        f"{_FORMATS.get(first, 'unsigned')}, compression {values.get(_COMPRESSION, 1)}"
    )


def _missing(values: dict[int, object], size: int) -> bool:
    """Tell whether strips or tiles end after the file does."""
    for at, long in zip(_OFFSETS, _SIZES, strict=True):
        offsets, sizes = values.get(at), values.get(long)
        if isinstance(offsets, tuple) and isinstance(sizes, tuple):
            # A damaged file may list more of one than of the other.
            return any(o + s > size for o, s in zip(offsets, sizes, strict=False))
    return False
