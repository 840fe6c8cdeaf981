"""Name a file by its first bytes, so that a sound file of another kind is never called damaged.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

HEAD = 4096
"""First bytes to look at."""

Reader = Literal["pillow", "heif", "none"]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: with its article.
        advice: what to do if it cannot be read; empty if Pillow reads the kind.
        reader: who reads it: `pillow` (perhaps by a plugin), `heif` (an extra), or `none`: then it
            is refused before any reader sees it.
        format: Pillow's name of its reader.
    """

    name: str
    advice: str = ""
    reader: Reader = "none"
    format: str = ""


SAVE = "save it as PNG, JPEG or TIFF"
_DEVELOP = "develop it to a JPEG, PNG or TIFF"
_RENDER = "render it to a PNG of the size you need"
_FRAME = "take one frame out of it: ffmpeg -i VIDEO -frames:v 1 frame.png"
_UNPACK = "unpack it and give a picture in it"
_CONVERT = "convert it to a PNG or TIFF of 8 or 16 bits"

_RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".k25", ".kdc"),
    *(".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl"),
    *(".sr2", ".srf", ".srw", ".x3f"),
}
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

RAW = Kind("a camera's raw file", _DEVELOP)
EMPTY = Kind("empty, not a picture", "copy or download it again")
PDF = Kind("a PDF document", _RENDER)
ZIP = Kind(
    "a ZIP archive (or a document, an app or a checkpoint, which are such archives)", _UNPACK
)
VIDEO = Kind("a video", _FRAME)
SOUND = Kind("a sound recording", "give a picture")
HEIC = Kind(
    "a HEIC picture", "install 'sam-export[heic]' to read it, or save it as JPEG", "heif", "HEIF"
)
AVIF = Kind(
    "an AVIF picture", "install a Pillow of 11.3 or later, or save it as PNG", "pillow", "AVIF"
)

SVG = Kind("an SVG drawing", _RENDER, "pillow")
WEB_PAGE = Kind("a web page, not a picture", "download the picture itself", "pillow")
TEXT = Kind("text, not a picture", "give a picture", "pillow")
POINTER = Kind("a pointer of git-lfs, not the picture itself", "run git lfs pull")
NO_PICTURES = (SVG, WEB_PAGE, TEXT)
"""Told by their text, as some pictures are too: so Pillow is asked first."""

_LFS = b"version https://git-lfs.github.com/spec/"

# (offset, bytes, kind); the first that fits.
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG", "", "pillow", "PNG")),
    (0, b"\xff\xd8\xff", Kind("a JPEG", "", "pillow", "JPEG")),
    (0, b"GIF8", Kind("a GIF", "", "pillow", "GIF")),
    (0, b"8BPS", Kind("a Photoshop document", SAVE, "pillow", "PSD")),
    (0, b"DDS ", Kind("a DDS texture", SAVE, "pillow", "DDS")),
    (0, b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 picture", SAVE, "pillow", "JPEG2000")),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 picture", SAVE, "pillow", "JPEG2000")),
    (0, b"qoif", Kind("a QOI picture", SAVE, "pillow", "QOI")),
    (0, b"SIMPLE  =", Kind("a FITS file", _CONVERT, "pillow", "FITS")),
    (0, b"\0\0\1\0", Kind("an icon of Windows", SAVE, "pillow", "ICO")),
    (0, b"icns", Kind("an icon of macOS", SAVE, "pillow", "ICNS")),
    (0, b"\xff\x0a", Kind("a JPEG XL picture", SAVE, "pillow", "JXL")),
    (0, b"\0\0\0\x0cJXL ", Kind("a JPEG XL picture", SAVE, "pillow", "JXL")),
    (0, b"#?RADIANCE", Kind("an HDR picture (Radiance)", _CONVERT)),
    (0, b"#?RGBE", Kind("an HDR picture (Radiance)", _CONVERT)),
    (0, b"v/1\x01", Kind("an HDR picture (OpenEXR)", _CONVERT)),
    (0, b"PF\n", Kind("an HDR picture (PFM)", _CONVERT, "pillow", "PPM")),
    (0, b"BPG\xfb", Kind("a BPG picture", SAVE)),
    (0, b"FLIF", Kind("a FLIF picture", SAVE)),
    (0, b"II\xbc\x01", Kind("a JPEG XR picture", SAVE)),
    (0, b"gimp xcf", Kind("a GIMP document", "export it as PNG")),
    (0, b"%PDF", PDF),
    (0, b"%!PS", Kind("a PostScript document", _RENDER)),
    (0, b"\xc5\xd0\xd3\xc6", Kind("a PostScript document", _RENDER)),
    (0, b"\xd7\xcd\xc6\x9a", Kind("a Windows metafile", _RENDER)),
    (40, b" EMF", Kind("a Windows metafile", _RENDER)),
    (0, b"AT&TFORM", Kind("a DjVu document", _RENDER)),
    (0, b"IIRO", RAW),
    (0, b"IIRS", RAW),
    (0, b"MMOR", RAW),
    (0, b"IIU\0", RAW),
    (8, b"CR\x02\0", RAW),
    (6, b"HEAPCCDR", RAW),
    (0, b"FUJIFILMCCD-RAW", RAW),
    (0, b"FOVb", RAW),
    (0, b"\0MRM", RAW),
    (128, b"DICM", Kind("a DICOM file", _CONVERT)),
    (0, b"\x93NUMPY", Kind("an array of numpy", "give it to set_image in Python, or save a PNG")),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _CONVERT)),
    (0, b"CDF\x01", Kind("a NetCDF file", _CONVERT)),
    (0, b"CDF\x02", Kind("a NetCDF file", _CONVERT)),
    (0, b"GRIB", Kind("a GRIB file", _CONVERT)),
    (0, b"BUFR", Kind("a BUFR file", _CONVERT)),
    (0, b"NRRD000", Kind("an NRRD file", _CONVERT)),
    (344, b"n+1\0", Kind("a NIfTI file", _CONVERT)),
    (0, b"\x5c\x01\0\0", Kind("a NIfTI file", _CONVERT)),
    (0, b"\0\0\x01\x5c", Kind("a NIfTI file", _CONVERT)),
    (0, b"\xabKTX ", Kind("a KTX texture", SAVE)),
    (0, b"\x13\xab\xa1\x5c", Kind("an ASTC texture", SAVE)),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (0, b"\x00\x00\x01\xba", VIDEO),
    (0, b"\x00\x00\x01\xb3", VIDEO),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", VIDEO),
    (0, b"FLV\x01", VIDEO),
    (0, b"OggS", Kind("a video or sound recording", _FRAME)),
    (0, b"ID3", SOUND),
    (0, b"fLaC", SOUND),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", ZIP),
    (0, b"\x1f\x8b", Kind("a gzip archive", _UNPACK)),
    (0, b"BZh", Kind("a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ\0", Kind("an xz archive", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", _UNPACK)),
    (0, b"Rar!\x1a\x07", Kind("a RAR archive", _UNPACK)),
    (257, b"ustar", Kind("a tar archive", _UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", Kind("a Zstandard archive", _UNPACK)),
    (0, b"\x7fELF", Kind("a program", "give a picture")),
    (0, b"MZ", Kind("a program of Windows", "give a picture")),
    (0, b"SQLite format 3\0", Kind("a database", "give a picture")),
    (0, b"bplist", Kind("a property list of macOS", "give a picture")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("a document of Office", SAVE)),
    (0, b"BM", Kind("a BMP", "", "pillow", "BMP")),
)


def kind_of(head: bytes, suffix: str) -> Kind | None:
    """Name the kind of a file; None if it is not known.

    Args:
        head: its first HEAD bytes.
        suffix: of its name; camera makers use TIFF's first bytes for their raw files.
    """
    tests: tuple[Callable[[], Kind | None], ...] = (
        lambda: None if head else EMPTY,
        lambda: _by_magic(head),
        lambda: _tiff(head, suffix.lower()),
        lambda: _iso_media(head),
        lambda: _riff(head),
        lambda: _transport_stream(head),
        lambda: _text(head),
    )
    return next((kind for kind in (test() for test in tests) if kind is not None), None)


def _by_magic(head: bytes) -> Kind | None:
    fits = (kind for at, magic, kind in _MAGIC if head[at : at + len(magic)] == magic)
    return next(fits, None)


def _tiff(head: bytes, suffix: str) -> Kind | None:
    if not head.startswith(_TIFF_HEADS):
        return None
    return RAW if suffix in _RAW_SUFFIXES else Kind("a TIFF", _CONVERT, "pillow", "TIFF")


def _iso_media(head: bytes) -> Kind | None:
    """Tell the files of ISO 14496-12 apart by their brand."""
    if head[4:8] != b"ftyp":
        return VIDEO if head[4:8] in (b"moov", b"mdat", b"wide", b"skip") else None
    brands = {head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), 256), 4)}
    brand = head[8:12]
    if brand in (b"avif", b"avis") or (brand in (b"mif1", b"msf1") and b"avif" in brands):
        return AVIF
    if brand in _HEIF:
        return HEIC
    return RAW if brand == b"crx " else SOUND if brand in (b"M4A ", b"M4B ") else VIDEO


def _riff(head: bytes) -> Kind | None:
    if head[:4] not in (b"RIFF", b"FORM"):
        return None
    known = {
        b"WEBP": Kind("a WebP", "", "pillow", "WEBP"),
        b"AVI ": VIDEO,
        b"WAVE": SOUND,
        b"AIFF": SOUND,
    }
    return known.get(head[8:12])


def _transport_stream(head: bytes) -> Kind | None:
    packets = head[:565:188]
    return VIDEO if len(packets) == 4 and set(packets) == {0x47} else None


def _text(head: bytes) -> Kind | None:
    if head.startswith(_LFS):
        return POINTER
    # A letter may be cut in two at the end of the head.
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore").lower()
    controls = set(map(chr, range(32))) - set("\t\n\r\f\x1b")
    if len(text.encode()) < len(head) - 6 or controls & set(text):
        return None
    if "<svg" in text:
        return SVG
    page = text.lstrip().startswith(("<!doctype html", "<html", "<head", "<body"))
    return WEB_PAGE if page else TEXT
