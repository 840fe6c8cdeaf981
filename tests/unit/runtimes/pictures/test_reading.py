"""Picture files in, whatever their form, and files out, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.errors import ExportError
from runtimes.pictures.reading import read_picture
from runtimes.pictures.writing import write_whole
from tests.unit.small_pictures import RGB


def test_a_png_comes_back_as_it_is(here):
    np.testing.assert_array_equal(read_picture(here / "dog.png").rgb, RGB)


def test_exif_orientation_is_applied(here):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(RGB).save("turned.png", exif=exif)
    np.testing.assert_array_equal(read_picture(Path("turned.png")).rgb, np.rot90(RGB, -1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(here, mode):
    image = Image.fromarray(RGB).convert(mode)
    image.save("x.tiff")
    wanted = image.convert("RGB")
    np.testing.assert_array_equal(read_picture(Path("x.tiff")).rgb, np.asarray(wanted))


def test_transparency_is_dropped_and_the_colour_kept(here):
    Image.new("RGBA", (2, 2), (10, 200, 30, 0)).save("clear.png")
    assert read_picture(Path("clear.png")).rgb[0, 0].tolist() == [10, 200, 30]
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([1, 2, 3] * 256)
    palette.save("palette.png", transparency=bytes([0, 128]))
    assert read_picture(Path("palette.png")).rgb[0, 0].tolist() == [1, 2, 3]


def test_sixteen_bits_are_scaled_and_not_cut_off(here):
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save("deep.png")
    assert read_picture(Path("deep.png")).rgb[0, :, 0].tolist() == [0, 1, 128, 255]
    Image.fromarray(np.array([[257, 32896]], np.uint16)).save("dim.png")
    assert read_picture(Path("dim.png")).rgb[0, :, 0].tolist() == [1, 128]


def test_floats_use_their_own_range(here):
    Image.fromarray(np.array([[-1.0, 0.0, 1.0]], np.float32)).save("float.tiff")
    assert read_picture(Path("float.tiff")).rgb[0, :, 1].tolist() == [0, 128, 255]
    Image.fromarray(np.full((1, 2), 3.0, np.float32)).save("flat.tiff")
    assert read_picture(Path("flat.tiff")).rgb.tolist() == [[[0] * 3] * 2]


def test_a_file_is_written_whole_or_not_at_all(here):
    target = here / "file.bin"
    target.write_text("old")

    def half(stream):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ExportError, match=r"cannot write .*file\.bin: No space left"):
        write_whole(target, half)
    assert target.read_text() == "old"
    write_whole(target, lambda stream: stream.write(b"new"))
    assert target.read_text() == "new"
    assert sorted(p.name for p in here.iterdir()) == ["dog.png", "file.bin"]
