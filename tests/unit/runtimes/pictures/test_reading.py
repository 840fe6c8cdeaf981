"""Picture files in, whatever their form, and files out, whole or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from exporter.errors import ExportError, ImageError
from runtimes.pictures.reading import Reading, read_grey, read_picture
from runtimes.pictures.writing import write_whole
from tests.unit.runtimes.pictures.files import png16, tiff
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


def read(name, content=None, **how):
    if content is not None:
        Path(name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_picture(Path(name), Reading(**how))


DEEP = RGB.astype(np.uint16) * 16
OPAQUE = np.full((*RGB.shape[:2], 1), 65535, np.uint16)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rgb.png", png16(DEEP)),
        ("rgba.png", png16(np.dstack([DEEP, OPAQUE]))),
        ("rgb.tif", tiff(DEEP)),
        ("rgba.tif", tiff(np.dstack([DEEP, OPAQUE]), t338=2)),
    ],
)
def test_colours_of_16_bits_keep_both_bytes(here, name, content):
    picture = read(name, content)
    np.testing.assert_allclose(picture.rgb, RGB, atol=1)
    assert picture.notes == (
        f"{name} has 16 bits a colour: the range 0 to 4095 was scaled to 8 bits; "
        "--range LOW,HIGH takes another",
    )
    exact = read(name, range=(0, 65535)).rgb
    np.testing.assert_array_equal(exact, np.rint(DEEP / 257).astype(np.uint8))


@pytest.mark.parametrize(
    "name", ["g.png", "g.tif", "lzw.tif", "be.tif", "ga.png", "i.tif", "f.tif"]
)
def test_grey_of_more_than_8_bits(here, name):
    grey = DEEP[..., 0]
    if name == "ga.png":
        Path(name).write_bytes(png16(np.dstack([grey, OPAQUE])))
    else:
        kind = {"i.tif": np.int32, "f.tif": np.float32, "be.tif": np.dtype(">u2")}.get(name, "u2")
        packed = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
        Image.fromarray(grey.astype(kind)).save(name, **packed)
    picture = read(name)
    np.testing.assert_allclose(picture.rgb, RGB[..., :1].repeat(3, 2), atol=1)
    assert "the range 0 to 4095 was scaled" in picture.notes[0]


def test_gdals_mark_of_no_data_and_white_that_is_low(here):
    values = DEEP[..., 0].astype(np.int32)
    values[:20] = 7000
    Image.fromarray(values).save("map.tif", tiffinfo={42113: "7000"})
    picture = read("map.tif")
    assert not picture.rgb[:20].any()
    np.testing.assert_allclose(picture.rgb[20:, :, 0], RGB[20:, :, 0], atol=1)
    inverted = read("x.tif", tiff(65535 - RGB[..., :1].astype(np.uint16) * 257, t262=0))
    np.testing.assert_array_equal(inverted.rgb[..., 0], RGB[..., 0])


def test_planes_of_16_bits_are_refused_since_pillow_mixes_them_up(here):
    with pytest.raises(ImageError, match=r"x\.tif has 16-bit colours in a plane each"):
        read("x.tif", tiff(DEEP, t284=2))


NUMBERS = [f"{kind}{size}" for kind in "uif" for size in (1, 2, 4, 8)] + ["c8", "c16"]


@pytest.mark.parametrize("number", [each for each in NUMBERS if each != "f1"])
def test_every_format_of_a_tiffs_values_is_read_or_refused_by_name(here, number):
    grey = RGB[..., :1].astype(np.float64)
    least = np.iinfo(number).min if number[0] == "i" else 0
    whole = number[0] in "ui" and int(number[1:]) > 1
    values = least / 2 + grey * ((np.iinfo(number).max >> 8) if whole else 1 if least == 0 else 0.5)
    content = tiff(values.astype(number))
    wanted = values.astype(number).real.astype(np.float64)
    if number in ("u8", "i8", "f2", "f8", "c8", "c16"):
        with pytest.raises(ImageError, match="of a form that is not read here"):
            read("x.tif", content)
        return
    options = {} if number == "u1" else {"range": (wanted.min(), wanted.max())}
    rgb = read("x.tif", content, **options).rgb
    if number != "u1":
        wanted = (wanted - wanted.min()) / np.ptp(wanted) * 255
    np.testing.assert_allclose(rgb[..., :1], wanted, atol=1)


def test_what_libtiff_says_itself_reaches_nobody(here, capfd):
    with pytest.raises(ImageError, match=r"x\.tif is damaged"):
        read("x.tif", tiff(RGB[..., :1], t259=50000))
    with pytest.raises(ImageError, match=r"y\.tif is"):
        read("y.tif", b"II+\0\x08\0\0\0\x10" + bytes(60))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("held", range(1, 9))
def test_a_tiff_is_turned_upright_packed_or_not(here, held):
    exif = Image.Exif()
    exif[0x0112] = held
    Image.fromarray(RGB).save("turned.png", exif=exif)
    for name, packed in (("plain.tif", {}), ("lzw.tif", {"compression": "tiff_lzw"})):
        Image.fromarray(RGB[..., 0]).save(name, exif=exif, **packed)
        np.testing.assert_array_equal(read(name).rgb[..., 0], read("turned.png").rgb[..., 0])


def test_a_deep_picture_is_turned_upright_too(here):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save("deep.png", exif=exif)
    Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save("deep.tif", exif=exif)
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(read(name).rgb[..., 0], np.rot90(RGB[..., 0]))


def test_lab_is_converted_by_its_white_point(here):
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = Image.linear_gradient("L").convert("RGB")
    ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB").save("lab.tif")
    np.testing.assert_allclose(read("lab.tif").rgb, np.asarray(picture), atol=3)


def test_a_damaged_exif_does_not_matter(here):
    Image.fromarray(RGB).save("plain.jpg")
    plain = Path("plain.jpg").read_bytes()
    broken = b"\xff\xe1\0\x20Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(16)
    picture = read("broken.jpg", plain[:2] + broken + plain[2:])
    np.testing.assert_array_equal(picture.rgb, read("plain.jpg").rgb)
    assert picture.notes == ()


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png", "a.avif"])
def test_the_first_of_several_frames_is_taken_and_it_is_said(here, name):
    first = Image.new("RGB", (40, 20), (200, 30, 60))
    first.save(name, save_all=True, append_images=[Image.new("RGB", (40, 20))])
    picture = read(name)
    assert picture.rgb[..., 0].min() > 190
    assert picture.notes == (f"{name} has several frames: the first one is taken",)
    first.save("single.gif")
    assert read("single.gif").notes == ()


def test_transparency_that_is_used_is_told(here):
    Image.new("RGBA", (2, 2), (10, 200, 30, 128)).save("half.png")
    assert read("half.png").notes == ("half.png is transparent in parts: alpha was dropped",)
    Image.new("RGBA", (2, 2), (10, 200, 30, 255)).save("full.png")
    assert read("full.png").notes == ()


@pytest.mark.parametrize(("held", "size"), [(1, (1200, 600)), (6, (600, 1200))])
def test_a_jpeg_of_too_many_pixels_is_decoded_smaller(here, held, size):
    exif = Image.Exif()
    exif[0x0112] = held
    Image.fromarray(RGB).resize((1200, 600)).save("large.jpg", exif=exif)
    whole = read("large.jpg")
    assert (whole.size, whole.notes) == (size, ())
    for most, factor in ((720_000, 1), (719_999, 2), (100_000, 4), (90_000, 4)):
        picture = read("large.jpg", max_pixels=most)
        assert picture.size == size
        assert picture.rgb.shape == (size[1] // factor, size[0] // factor, 3)
        shrunk = Image.fromarray(whole.rgb).reduce(factor)
        assert np.abs(picture.rgb.astype(int) - np.asarray(shrunk)).mean() < 3
    with pytest.raises(ImageError, match=r"is too large: 720000 pixels.*--max-pixels 720000 reads"):
        read("large.jpg", max_pixels=89_999)


def test_what_cannot_be_decoded_smaller_is_refused_but_may_be_allowed(here):
    Image.new("RGB", (300, 200)).save("progressive.jpg", progressive=True)
    Image.new("RGB", (300, 200)).save("map.png")
    for name in ("progressive.jpg", "map.png"):
        with pytest.raises(ImageError, match=rf"{name} is too large.*--max-pixels 60000 reads it"):
            read(name, max_pixels=59_999)
        assert read(name, max_pixels=60_000).size == (300, 200)


def test_the_limit_is_pillows_own_again_afterwards(here):
    before = Image.MAX_IMAGE_PIXELS
    read("dog.png", max_pixels=10_000)
    assert before == Image.MAX_IMAGE_PIXELS
    large = Image.new("L", (9000, 5000))
    assert large.width * large.height > 16_000_000
    large.putpixel((8999, 4999), 7)
    large.save("large.png", compress_level=1)
    rgb = read("large.png").rgb  # turned into an array in bands
    assert (int(rgb.sum()), rgb[4999, 8999].tolist()) == (21, [7, 7, 7])


def test_a_drawn_mask_is_black_where_it_is_transparent(here):
    white = np.full((4, 6, 4), 255, np.uint8)
    white[:, :3, 3] = 0
    Image.fromarray(white).save("drawn.png")
    assert read_grey(Path("drawn.png")).tolist() == [[0] * 3 + [255] * 3] * 4
    assert read_grey(Path("dog.png")).shape == RGB.shape[:2]
