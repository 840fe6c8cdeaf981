"""More than 8 bits become bytes by one range, which no outlier and no missing value decides."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.errors import ImageError
from runtimes.pictures.depth import Deep, choose_range, to_bytes

SCENE = np.random.default_rng(3).integers(5, 251, (300, 400))
LOW, HIGH = 5, 250


def chosen(values, **about):
    return choose_range(Deep(values, "16 bits", **about))


def with_pixels(values, *pixels):
    changed = values.copy()
    changed.ravel()[: len(pixels)] = pixels
    return changed


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_the_least_whole_range_that_holds_the_picture_is_taken(bits, kind):
    values = (SCENE << (bits - 8)).astype(kind)
    assert chosen(values) == (0, 2**bits - 1)
    eight, said = to_bytes(Deep(values, "16 bits"))
    np.testing.assert_allclose(eight, SCENE, atol=1)
    assert said == f"has 16 bits: the range 0 to {2**bits - 1} was scaled to 8 bits"


def test_a_picture_of_full_range_is_divided_by_257_as_ever():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(
        to_bytes(Deep(values, ""))[0], np.rint(values / 257).astype(np.uint8)
    )


def test_shares_are_0_to_1():
    assert chosen((SCENE / 255).astype(np.float32)) == (0, 1)
    np.testing.assert_array_equal(to_bytes(Deep(SCENE / 255, ""))[0], SCENE)


@pytest.mark.parametrize("offset", [40000, -1024, 10**6])
def test_a_narrow_band_takes_what_it_uses(offset):
    low, high = chosen((SCENE + offset).astype(np.int32))
    assert (low, high) == (pytest.approx(LOW + offset, abs=1), pytest.approx(HIGH + offset, abs=1))


@pytest.mark.parametrize("hot", [(65535,), (4096,), (65535,) * 30, (0,) * 30, (65535, 0, 30000)])
def test_hot_and_dead_pixels_decide_nothing(hot):
    values = (SCENE * 16).astype(np.uint16)
    assert chosen(with_pixels(values, *hot)) == (0, 4095)
    eight, _ = to_bytes(Deep(with_pixels(values, *hot), ""))
    np.testing.assert_allclose(eight.ravel()[len(hot) :], SCENE.ravel()[len(hot) :], atol=1)


@pytest.mark.parametrize(
    "mark", [-9999, -32768, np.nan, np.inf, -np.inf, -3.4028235e38, 9.96921e36, -99999, 1e6]
)
def test_no_data_decides_nothing_however_much_there_is(mark):
    values = (SCENE * 16).astype(np.float32)
    values[:120] = mark
    assert chosen(values) == (0, 4095)
    eight, _ = to_bytes(Deep(values, ""))
    np.testing.assert_allclose(eight[120:], SCENE[120:], atol=1)
    assert (eight[:120] == (255 if mark == 1e6 else 0)).all()


def test_the_mark_of_the_file_is_no_data():
    values = (SCENE * 16).astype(np.int32)
    values[:120] = 6000
    assert chosen(values) == (0, 16383)
    assert chosen(values, no_data=6000.0) == (0, 4095)
    eight, _ = to_bytes(Deep(values, "", no_data=6000.0))
    assert not eight[:120].any()


def test_two_levels_stay_two_levels():
    np.testing.assert_array_equal(
        to_bytes(Deep(np.array([[0, 1, 1, 0]], np.uint16), ""))[0], [[0, 255, 255, 0]]
    )
    assert to_bytes(Deep(np.array([[7.0, 7.0]]), ""))[0].tolist() == [[0, 0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -9999.0, 1e31])
@pytest.mark.parametrize("given", [None, (0.0, 1.0)])
def test_a_picture_without_a_value_is_refused(value, given):
    with pytest.raises(ImageError, match="holds no value: every pixel is NaN, infinite or marked"):
        to_bytes(Deep(np.full((3, 3), value), ""), given)


@pytest.mark.parametrize("given", [(50000, 60000), (4095, 5000), (-9, 0), (-9, -4)])
def test_a_range_in_which_nothing_lies_is_refused(given):
    values = np.array([[0, 7, 4095]], np.uint16)
    with pytest.raises(ImageError, match="has values from 0 to 4095: none lies in the range"):
        to_bytes(Deep(values, ""), given)


def test_a_range_between_two_levels_parts_them():
    eight, _ = to_bytes(Deep(np.array([[0, 4095]], np.uint16), ""), (1000, 2000))
    assert eight.tolist() == [[0, 255]]


def test_colours_share_one_range():
    values = np.stack([SCENE * 16, SCENE * 8, SCENE * 2], axis=-1).astype(np.uint16)
    eight, _ = to_bytes(Deep(values, ""))
    np.testing.assert_allclose(eight, np.stack([SCENE, SCENE / 2, SCENE / 8], axis=-1), atol=1)


def test_a_range_of_the_users_is_taken_as_it_is():
    eight, said = to_bytes(Deep(np.array([[0, 100, 160, 200, 9000]], np.uint16), "x"), (100, 200))
    assert eight.tolist() == [[0, 0, 153, 255, 255]]
    assert said == "has x: the range 100 to 200 was scaled to 8 bits"


def test_white_may_be_low():
    deep = Deep(np.array([[0, 32768, 65535]], np.uint16), "16 bits", white_is_low=True)
    eight, said = to_bytes(deep)
    assert eight.tolist() == [[255, 127, 0]]
    assert said.endswith("dark and bright exchanged")


def test_a_large_picture_is_scaled_in_bands_alike():
    values = np.tile((SCENE * 16).astype(np.uint16), (10, 10))
    eight, _ = to_bytes(Deep(values, ""))
    np.testing.assert_array_equal(eight, np.rint(values * (255 / 4095)).astype(np.uint8))
