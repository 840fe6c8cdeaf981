"""The overlay that `sam-run` draws: tint, contour, prompts, captions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from exporter.bundle.masks import Masks
from exporter.bundle.prompts import Prompts
from runtimes.overlay import overlay, tint


def square_mask():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    return mask


def test_the_mask_is_tinted_and_its_contour_crisp():
    grey = Image.new("RGB", (60, 40), (100, 100, 100))
    picture = np.asarray(tint(grey, square_mask(), (200, 0, 0), 1))
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[20, 30].tolist() == [145, 55, 55]  # 45 % of the tint
    assert picture[20, 20].tolist() == [227, 127, 127]  # bright just inside
    assert picture[20, 19].tolist() == [50, 0, 0]  # dark just outside
    assert picture[20, 18].tolist() == [100, 100, 100]


def masks_of(count):
    iou = np.linspace(0.5, 0.9, count, dtype=np.float32)
    return Masks(np.stack([square_mask()] * count), iou, np.zeros((count, 8, 8), np.float32))


def test_points_are_green_or_red_with_a_white_rim():
    rgb = np.zeros((40, 60, 3), np.uint8)
    prompts = Prompts(((30.0, 5.0), (50.0, 35.0)), (1, 0))
    picture = np.asarray(overlay(rgb, [(masks_of(1), prompts)])).astype(int)
    assert picture.shape == rgb.shape
    assert picture[5, 30].argmax() == 1
    assert picture[35, 50].argmax() == 0
    around = picture[2:9, 27:34].min(axis=2)
    assert around.max() > 150  # some white


def test_a_box_is_drawn():
    rgb = np.zeros((40, 60, 3), np.uint8)
    picture = np.asarray(overlay(rgb, [(masks_of(1), Prompts(box=(5.0, 5.0, 50.0, 35.0)))]))
    assert picture[6, 15].tolist() == [255, 214, 10]
    assert picture[2, 15].tolist() == [0, 0, 0]


def test_several_masks_stand_side_by_side_under_their_captions():
    rgb = np.zeros((400, 600, 3), np.uint8)
    masks = masks_of(3)
    big = Masks(np.zeros((3, 400, 600), bool), masks.iou_predictions, masks.low_res_masks)
    picture = overlay(rgb, [(big, Prompts(((1.0, 1.0),), (1,)))])
    assert picture.size == (3 * 600 + 8, 400 + 34)
    strip = np.asarray(picture)[:30]
    assert all(strip[:, left : left + 600].max() > 200 for left in (0, 604, 1208))


def test_marks_at_the_corners_of_a_tiny_picture_do_not_fail():
    masks = Masks(np.ones((2, 1, 1), bool), np.ones(2, np.float32), np.ones((2, 8, 8), np.float32))
    prompts = Prompts(((0.0, 0.0), (1.0, 1.0)), (1, 0), (0.0, 0.0, 1.0, 1.0))
    picture = overlay(np.zeros((1, 1, 3), np.uint8), [(masks, prompts)])
    assert picture.height > 1


@pytest.mark.parametrize("line", [1, 2, 3, 7, 20, 90])
def test_a_contour_is_what_as_many_filters_of_three_pixels_find(line):
    mask = np.random.default_rng(line).random((40, 60)) > 0.97
    mask[10:30, 20:40] = True
    grown = Image.fromarray(mask.astype(np.uint8))
    for _ in range(line):
        grown = grown.filter(ImageFilter.MaxFilter(3))
    drawn = np.asarray(tint(Image.new("RGB", (60, 40), (100, 100, 100)), mask, (200, 0, 0), line))
    dark = (drawn == (50, 0, 0)).all(axis=2)
    np.testing.assert_array_equal(dark, np.asarray(grown).astype(bool) & ~mask)


def test_each_of_several_objects_has_its_colour():
    first, second = np.zeros((1, 40, 60), bool), np.zeros((1, 40, 60), bool)
    first[0, 5:20, 5:20], second[0, 5:20, 35:55] = True, True
    logits = np.zeros((1, 8, 8), np.float32)
    objects = [
        (Masks(mask, np.array([0.9], np.float32), logits), Prompts(((30.0, 30.0),), (label,)))
        for mask, label in ((first, 1), (second, 0))
    ]
    drawn = np.asarray(overlay(np.full((40, 60, 3), 100, np.uint8), objects))
    assert drawn[12, 12].tolist() == [170, 78, 124]  # 45 % of the first colour
    assert drawn[12, 45].tolist() == [55, 124, 170]
    assert drawn[30, 5].tolist() == [100, 100, 100]
    assert len(np.unique(drawn[25:36, 25:36].reshape(-1, 3), axis=0)) > 1, "the prompts are drawn"
