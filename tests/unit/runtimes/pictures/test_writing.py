"""Masks are written only to formats that give them back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.errors import RequestError
from runtimes.pictures.writing import (
    require_mask_format,
    require_outside,
    require_picture_format,
    require_size,
    save_mask,
    save_picture,
)

MASK = np.random.default_rng(1).integers(0, 2, (37, 53), np.uint8) * np.uint8(255)


def suffixes():
    Image.init()
    return sorted(Image.registered_extensions())


@pytest.mark.parametrize("suffix", suffixes())
def test_an_accepted_mask_comes_back_as_0_and_255(here, suffix):
    path = Path(f"m{suffix}")
    try:
        require_mask_format(path)
    except RequestError:
        return
    save_mask(path, Image.fromarray(MASK))
    back = np.asarray(Image.open(path))
    np.testing.assert_array_equal(back if back.ndim == 2 else back[..., 0], MASK)


def test_the_usual_lossless_formats_are_accepted():
    for suffix in (".png", ".PNG", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".tga"):
        require_mask_format(Path(f"m{suffix}"))


@pytest.mark.parametrize(
    "suffix", [".jpg", ".JPEG", ".avif", ".gif", ".ico", ".icns", ".pdf", ".eps"]
)
def test_a_format_that_would_change_a_mask_is_refused(suffix):
    with pytest.raises(RequestError, match="cannot hold a mask"):
        require_mask_format(Path(f"m{suffix}"))


@pytest.mark.parametrize("name", ["m.txt", "m", "m.svg", "m.psd", "m.heic2"])
def test_a_suffix_that_is_not_written_is_refused(name):
    for require in (require_mask_format, require_picture_format):
        with pytest.raises(RequestError, match=r"should end in \.png"):
            require(Path(name))


@pytest.mark.parametrize("suffix", suffixes())
def test_an_accepted_picture_keeps_its_size(here, suffix):
    path = Path(f"o{suffix}")
    try:
        require_picture_format(path)
    except RequestError:
        return
    save_picture(path, Image.new("RGB", (53, 37), (200, 30, 90)))
    if suffix not in (".pdf", ".eps", ".ps"):  # written, but never read
        assert Image.open(path).size == (53, 37)


def test_a_format_that_is_too_small_is_refused():
    require_size(Path("m.webp"), (16383, 5))
    require_size(Path("m.png"), (65535, 5))
    with pytest.raises(RequestError, match="WEBP holds 16383 pixels a side, not 16384; use"):
        require_size(Path("m.webp"), (5, 16384))
    with pytest.raises(RequestError, match="JPEG holds 65500"):
        require_size(Path("m.jpg"), (65501, 5))


@pytest.mark.parametrize("place", ["bundle", "bundle/deeper", "link", "bundle/../bundle"])
def test_a_place_in_a_bundle_is_refused_however_it_is_spelt(here, place):
    Path("bundle/deeper").mkdir(parents=True)
    Path("link").symlink_to("bundle")
    with pytest.raises(RequestError, match=r"o\.png lies in the bundle"):
        require_outside([Path("elsewhere.png"), Path(place) / "o.png"], [Path("bundle")])
    require_outside([Path("o.png"), Path("none/o.png"), Path("x" * 300)], [Path("bundle")])
