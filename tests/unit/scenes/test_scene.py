"""The demo scenes: the same for the same seed, with masks that do not overlap."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.random import PCG64, Generator

from exporter.scenes.prompts import bounding_box, deepest_pixel, outside_pixel, random_pixel
from exporter.scenes.scene import MIN_AREA, scene

SIZES = ((256, 256), (120, 200), (333, 210))

# Of scene 7 at 96 x 128: where the objects are, and pixels (row, column) -> RGB.
INSTANCES_SHA256 = "65cc0bcb446b8c104456a26e0f24f39f16eef74f6c44bbc1d8830857cf1bfb5d"
PIXELS = {
    (5, 5): (7, 108, 21),
    (20, 100): (133, 249, 153),
    (48, 64): (147, 89, 195),
    (70, 30): (24, 134, 33),
    (90, 120): (20, 140, 53),
}


def test_a_seed_gives_the_stored_scene() -> None:
    found = scene(7, 96, 128)
    digest = hashlib.sha256(np.packbits(found.instances).tobytes()).hexdigest()
    assert digest == INSTANCES_SHA256
    for place, colour in PIXELS.items():
        # One step of 255: another processor's sine may differ in its last bit.
        np.testing.assert_allclose(found.image[place].astype(int), colour, atol=1)


def test_a_seed_repeats() -> None:
    first, second = scene(3, 128, 128), scene(3, 128, 128)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.instances, second.instances)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_are_disjoint_and_large_enough(height: int, width: int) -> None:
    for seed in range(8):
        found = scene(seed, height, width)
        assert found.image.shape == (height, width, 3)
        assert found.image.dtype == np.uint8
        assert found.instances.shape[1:] == (height, width)
        assert found.instances.dtype == np.bool_
        assert found.instances.sum(axis=0).max(initial=0) <= 1
        assert (found.instances.mean(axis=(1, 2)) >= MIN_AREA).all()


def test_scenes_vary() -> None:
    scenes = [scene(seed, 128, 128) for seed in range(12)]
    means = np.array([found.image.mean(axis=(0, 1)) for found in scenes])
    assert means.std(axis=0).min() > 10
    assert len({len(found.instances) for found in scenes}) > 2
    assert all(found.image.std() > 15 for found in scenes)


def test_deepest_pixel_of_known_shapes() -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[10:31, 20:41] = True
    assert deepest_pixel(mask) == (30.0, 20.0)
    mask[:] = False
    mask[5, 7] = True
    assert deepest_pixel(mask) == (7.0, 5.0)
    assert deepest_pixel(np.ones((21, 21), np.bool_)) == (10.0, 10.0)


def test_deepest_pixel_is_about_as_deep_as_the_euclidean_one() -> None:
    for seed in range(6):
        for mask in scene(seed, 128, 128).instances:
            x, y = deepest_pixel(mask)
            assert mask[int(y), int(x)]
            assert _depth(mask, x, y) >= 0.8 * _greatest_depth(mask)


def test_prompts_lie_where_they_say() -> None:
    rng = Generator(PCG64(0))
    for mask in scene(5, 100, 140).instances:
        x, y = random_pixel(rng, mask)
        assert mask[int(y), int(x)]
        x, y = outside_pixel(rng, mask)
        assert not mask[int(y), int(x)]
        x0, y0, x1, y1 = (int(side) for side in bounding_box(mask))
        assert mask[y0 : y1 + 1, x0 : x1 + 1].sum() == mask.sum()


def _outside(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(~np.pad(mask, 1)) - 1


def _depth(mask: np.ndarray, x: float, y: float) -> float:
    return float(np.sqrt(((_outside(mask) - (y, x)) ** 2).sum(axis=1).min()))


def _greatest_depth(mask: np.ndarray) -> float:
    outside, inside = _outside(mask), np.argwhere(mask)[::7]
    return max(float(np.sqrt(((outside - place) ** 2).sum(axis=1).min())) for place in inside)
