"""A file that is no picture, or one that is not read, is named; only damaged files are damaged."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from exporter.errors import ImageError
from runtimes.pictures.reading import read_picture
from tests.unit.runtimes.pictures.files import dds, iso_media, png16, png_that_claims, tiff
from tests.unit.small_pictures import RGB


def refusal(name, content):
    Path(name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError) as error:
            read_picture(Path(name))
    said = str(error.value)
    assert said.startswith(f"{name} is ")
    assert len(said) < 300
    return said


def numpy_file():
    stream = io.BytesIO()
    np.save(stream, RGB)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind", "cure"),
    [
        ("x.jpg", b"", "empty", "again"),
        ("x.jpg", b"hello", "text", "give a picture"),
        ("x.jpg", "grüße aus köln".encode(), "text", "give a picture"),
        ("x.jpg", "ä".encode() * 3000, "text", "give a picture"),
        ("x.jpg", b'{"error": "not found"}', "text", "give a picture"),
        ("x.jpg", b"\n <!DOCTYPE html><html></html>", "a web page", "download"),
        ("x.png", b"version https://git-lfs.github.com/spec/v1\no", "git-lfs", "git lfs pull"),
        ("x.svg", b'<?xml version="1.0"?>\n<svg></svg>', "an SVG drawing", "render"),
        ("x.png", b"\xef\xbb\xbf<!-- drawn --><svg></svg>", "an SVG drawing", "render"),
        ("x.pdf", b"%PDF-1.7\n", "a PDF document", "render"),
        ("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript", "render"),
        ("x.wmf", b"\xd7\xcd\xc6\x9a" + bytes(50), "a Windows metafile", "render"),
        ("x.mp4", iso_media(b"isom", b"mp42"), "a video", "ffmpeg"),
        ("x.mov", iso_media(b"qt  "), "a video", "ffmpeg"),
        ("x.mov", b"\0\0\0\x08wide\0\0\0\0mdat", "a video", "ffmpeg"),
        ("x.jpg", b"\x1a\x45\xdf\xa3" + bytes(99), "a video", "ffmpeg"),
        ("x.avi", b"RIFF\0\0\0\0AVI LIST", "a video", "ffmpeg"),
        ("x.mpg", b"\0\0\1\xba" + bytes(99), "a video", "ffmpeg"),
        ("x.ts", (b"G" + bytes(187)) * 5, "a video", "ffmpeg"),
        ("x.wav", b"RIFF\0\0\0\0WAVEfmt ", "a sound recording", "picture"),
        ("x.mp3", b"ID3" + bytes(99), "a sound recording", "picture"),
        ("x.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera's raw file", "develop"),
        ("x.jpg", b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "a camera's raw file", "develop"),
        ("x.cr3", iso_media(b"crx ", b"isom"), "a camera's raw file", "develop"),
        ("x.nef", b"MM\0*\0\0\0\x08" + bytes(99), "a camera's raw file", "develop"),
        ("x.ARW", b"II*\0\x08\0\0\0" + bytes(99), "a camera's raw file", "develop"),
        ("x.raf", b"FUJIFILMCCD-RAW 0201", "a camera's raw file", "develop"),
        ("x.orf", b"IIRO\x08\0\0\0" + bytes(99), "a camera's raw file", "develop"),
        ("x.tif", tiff(RGB, t50706=1025), "a camera's raw file", "develop"),
        ("x.tif", tiff(RGB, t254=1, t330=8), "a camera's raw file", "develop"),
        ("x.jxl", b"\xff\x0a" + bytes(40), "a JPEG XL picture", "save it as PNG"),
        ("x.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", "save it as PNG"),
        ("x.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance", "convert"),
        ("x.exr", b"v/1\x01\2\0\0\0" + bytes(50), "OpenEXR", "convert"),
        ("x.npy", numpy_file(), "an array of numpy", "set_image"),
        ("x.dcm", bytes(128) + b"DICM" + bytes(50), "a DICOM file", "convert"),
        ("x.nii", b"\x5c\1\0\0" + bytes(400), "a NIfTI file", "convert"),
        ("setup.exe", b"MZ" + bytes(100), "a program of Windows", "give a picture"),
        ("x.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "an HDF5 file", "convert"),
        ("x.zip", b"PK\3\4" + bytes(50), "a ZIP archive", "unpack"),
        ("x.gz", b"\x1f\x8b\x08" + bytes(50), "a gzip archive", "unpack"),
        ("x.xcf", b"gimp xcf v011", "a GIMP document", "export it as PNG"),
        ("x.tif", tiff(RGB.astype(np.float32)), "3 x 32 bits, float", "convert"),
        ("x.tif", tiff(RGB[..., :1].astype(np.float64)), "1 x 64 bits, float", "convert"),
        ("x.tif", tiff(np.dstack([RGB, RGB]).astype(np.uint16)), "6 x 16 bits", "convert"),
        ("x.dds", dds(struct.pack("<2I4s5I", 32, 8, bytes(4), 8, 0, 0, 0, 0)), "a DDS texture of "
         "a form that is not read", "save it as PNG"),
        ("x.dds", dds(struct.pack("<2I4s5I", 32, 4, b"ZZZZ", 0, 0, 0, 0, 0)), "a DDS texture of "
         "a form that is not read", "save it as PNG"),
        ("x.bin", bytes(range(128, 256)) * 9, "no kind of picture that is known", "save it as PNG"),
        ("x.bin", bytes(5000), "no kind of picture that is known", "save it as PNG"),
    ],
)  # fmt: skip
def test_a_sound_file_is_named_and_never_called_damaged(here, name, content, kind, cure):
    said = refusal(name, content)
    assert kind in said
    assert cure in said
    assert "damaged" not in said


def jpeg_of_12_bits():
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def test_a_jpeg_of_12_bits_is_a_form_that_is_not_read(here):
    said = refusal("x.jpg", jpeg_of_12_bits())
    assert "a JPEG of a form that is not read here: cannot handle 12-bit layers" in said


@pytest.mark.parametrize(
    "suffix",
    [
        *(".png", ".16.png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".jp2", ".avif", ".dds"),
        *(".ppm", ".tga", ".ico", ".qoi", ".heic"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_is_cut_short_is_damaged(here, suffix, share):
    path = Path(f"whole{suffix}")
    if suffix == ".heic":
        pillow_heif.from_pillow(Image.fromarray(RGB)).save(path)
    elif suffix == ".16.png":
        path.write_bytes(png16(RGB.astype(np.uint16) * 250))
    else:
        Image.fromarray(RGB).save(path)
    content = path.read_bytes()
    assert "damaged" in refusal(f"cut{suffix}", content[: int(len(content) * share)])


@pytest.mark.parametrize(
    "content",
    [
        png_that_claims(0, 10),
        png_that_claims(0, 0),
        dds(struct.pack("<2I4s5I", 32, 0x41, bytes(4), 32, 255, 255 << 8, 255 << 16, 255 << 24), 0),
        iso_media(b"heic", b"mif1"),
        iso_media(b"avif", b"mif1"),
    ],
)
def test_a_header_without_a_picture_is_damaged(here, content):
    assert "damaged" in refusal("x.png", content)


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (2**31 - 1, 1), (13417, 13417)])
def test_a_decompression_bomb_is_refused_by_its_header(here, width, height):
    said = refusal("x.png", png_that_claims(width, height))
    assert f"is too large: {width * height / 1e6:.0f} megapixels, and up to 180 are read" in said
    assert f"--max-pixels {width * height} reads it" in said


def test_a_giant_side_is_refused(here):
    assert "100000 x 10: a side may have 65535 pixels" in refusal(
        "x.png", png_that_claims(10**5, 10)
    )
    masks = struct.pack("<2I4s5I", 32, 0x41, bytes(4), 32, 255, 255 << 8, 255 << 16, 255 << 24)
    assert "too large" in refusal("x.dds", dds(masks, 2**31, 2**31))
    assert "--max-pixels" not in refusal("x.dds", dds(masks, 2**31, 2**31))


def test_heic_is_read_by_an_extra_and_names_it_if_it_is_missing(here, monkeypatch):
    picture = Image.merge("RGB", [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)])
    pillow_heif.from_pillow(picture).save("x.HEIC", quality=95)
    read = read_picture(Path("x.HEIC")).rgb.astype(int)
    assert np.abs(read - np.asarray(picture)).mean() < 3  # HEVC is lossy
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    said = refusal("x.HEIC", Path("x.HEIC").read_bytes())
    assert said == (
        "x.HEIC is a HEIC picture: install 'sam-export[heic]' to read it, or save it as JPEG"
    )


def test_whatever_pillow_raises_is_one_line_of_ours(here, monkeypatch):
    class Strange(Exception):
        pass

    for error in (
        Strange("two\nlines"),
        NotImplementedError(),
        RecursionError("deep"),
        KeyError(1),
    ):

        def broken(*arguments, error=error):
            raise error

        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", broken)
        said = refusal("x.png", png16(RGB.astype(np.uint16)))
        assert "\n" not in said


def test_a_picture_that_does_not_fit_into_memory_is_ours_to_name(here, monkeypatch):
    def full(image):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(ImageError, match=r"dog\.png does not fit into memory"):
        read_picture(Path("dog.png"))


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_raise_nothing_but_our_error(here, seed):
    rng = np.random.default_rng(seed)
    suffix = (".png", ".jpg", ".tif", ".gif", ".webp", ".bmp", ".dds", ".ico", ".tga", ".psd")[
        seed % 10
    ]
    if suffix == ".psd":
        content = bytearray(
            b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(300)
        )
    else:
        Image.fromarray(RGB).save(f"whole{suffix}")
        content = bytearray(Path(f"whole{suffix}").read_bytes())
    for _ in range(12):
        flipped = bytearray(content)
        for at in rng.integers(0, min(len(flipped), 300), 3):
            flipped[at] = rng.integers(0, 256)
        Path(f"x{suffix}").write_bytes(flipped)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with contextlib.suppress(ImageError):
                read_picture(Path(f"x{suffix}"))
