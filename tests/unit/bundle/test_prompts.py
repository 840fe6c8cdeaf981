from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exporter.bundle.preprocess import Frame
from exporter.bundle.prompts import Prompts, check, pack, place
from exporter.bundle.rules import LABELS, PromptRule
from exporter.errors import PromptError

FRAME = Frame((100, 50), (64, 32), 64)
RULE = PromptRule(batch=1, slots=4, labels=LABELS, pad_without_box=True)
TIGHT = replace(RULE, pad_without_box=False)
TWO = Prompts(((50, 25), (100, 50)), (1, 0))
BOX = Prompts(box=(0, 0, 50, 25))


def test_points_come_first_then_the_not_a_point_then_empty_slots():
    coords, labels = pack(TWO, FRAME, RULE)
    assert coords.shape == (1, 4, 2)
    assert labels.shape == (1, 4)
    assert coords.dtype == labels.dtype == np.float32
    np.testing.assert_allclose(coords[0], [[32, 16], [64, 32], [0, 0], [0, 0]])
    assert labels[0].tolist() == [1, 0, -1, -2]


def test_a_variant_without_the_extra_slot_has_none():
    _, labels = pack(TWO, FRAME, TIGHT)
    assert labels[0].tolist() == [1, 0, -2, -2]


@pytest.mark.parametrize("rule", [RULE, TIGHT])
def test_a_box_is_two_corners_and_needs_no_extra_slot(rule):
    coords, labels = pack(BOX, FRAME, rule)
    np.testing.assert_allclose(coords[0], [[0, 0], [32, 16], [0, 0], [0, 0]])
    assert labels[0].tolist() == [2, 3, -2, -2]


def test_points_and_a_box_together():
    both = replace(TWO, box=(0, 0, 50, 25))
    coords, labels = pack(both, FRAME, RULE)
    np.testing.assert_allclose(coords[0], [[32, 16], [64, 32], [0, 0], [32, 16]])
    assert labels[0].tolist() == [1, 0, 2, 3]


def test_the_order_of_points_is_kept():
    flipped = Prompts(TWO.points[::-1], TWO.labels[::-1])
    coords, labels = pack(flipped, FRAME, RULE)
    np.testing.assert_allclose(coords[0, :2], [[64, 32], [32, 16]])
    assert labels[0, :2].tolist() == [0, 1]


def test_slots_are_counted():
    assert TWO.slots(RULE) == 3
    assert TWO.slots(TIGHT) == 2
    assert BOX.slots(RULE) == BOX.slots(TIGHT) == 2
    assert replace(TWO, box=(0, 0, 1, 1)).slots(RULE) == 4


def clicks(count):
    return Prompts(((1.0, 1.0),) * count, (1,) * count)


def test_all_slots_may_be_used_and_one_more_says_what_to_do():
    assert pack(clicks(3), FRAME, RULE)[1][0].tolist() == [1, 1, 1, -1]
    assert pack(clicks(4), FRAME, TIGHT)[1][0].tolist() == [1, 1, 1, 1]
    with pytest.raises(PromptError, match=r"take 5 slots \(SAM adds one.*--max-points 5"):
        pack(clicks(4), FRAME, RULE)
    with pytest.raises(PromptError, match=r"take 5 slots and the bundle has 4.*--max-points 5"):
        pack(replace(clicks(3), box=(0, 0, 1, 1)), FRAME, RULE)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (Prompts(), "give a point or a box"),
        (Prompts(((1, 1),), ()), "points: 1, labels: 0; give each"),
        (Prompts((), (1,)), "points: 0, labels: 1; give each"),
        (Prompts(((1, 1),), (2,)), "not 2"),
        (Prompts(((1, 1),), (-1,)), "not -1"),
        (Prompts(((101.5, 1),), (1,)), r"point 101\.5,1 is outside the image \(100 x 50\)"),
        (Prompts(((1, -1.5),), (1,)), "outside"),
        (Prompts(((float("nan"), 1),), (1,)), "outside"),
        (Prompts(((float("inf"), 1),), (1,)), "outside"),
        (Prompts(box=(100, 0, 130, 10)), r"box 100,0,130,10 is outside the image \(100 x 50\)"),
        (Prompts(box=(-9, -9, 0, 10)), "outside"),
        (Prompts(box=(0, 50, 10, 60)), "outside"),
        (Prompts(box=(-float("inf"), 0, float("nan"), 10)), "outside"),
        (Prompts(box=(10, 10, 10, 20)), "is empty: X0,Y0 is top left"),
        (Prompts(box=(10, 20, 20, 10)), "is empty"),
        (Prompts(box=(10, 10, float("nan"), 20)), "outside"),
    ],
)
def test_what_cannot_be_asked_is_refused(prompts, message):
    with pytest.raises(PromptError, match=message):
        check(prompts, FRAME, RULE)
    with pytest.raises(PromptError, match=message):
        pack(prompts, FRAME, RULE)


@pytest.mark.parametrize(
    ("asked", "placed"),
    [
        ((-0.4, 10.2, 100.3, 49.9), (0, 10.2, 100, 49.9)),
        ((-500, -3, 40, 9000), (0, 0, 40, 50)),
        ((-1e9, -1e9, 1e9, 1e9), (0, 0, 100, 50)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_a_box_is_cut_to_the_image(asked, placed):
    assert place(Prompts(box=asked), FRAME).box == placed
    for one, other in zip(
        pack(Prompts(box=asked), FRAME, RULE), pack(Prompts(box=placed), FRAME, RULE), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("asked", "placed"),
    [((-0.4, 3), (0, 3)), ((-1, 51), (0, 50)), ((100.9, -0.1), (100, 0)), ((7, 8), (7, 8))],
)
def test_a_point_may_be_outside_by_a_pixel(asked, placed):
    assert place(Prompts((asked,), (0,)), FRAME) == Prompts((placed,), (0,))


@pytest.mark.parametrize("point", [(0, 0), (100, 50), (0.5, 49.9)])
def test_the_edges_belong_to_the_image(point):
    pack(Prompts((point,), (1,)), FRAME, RULE)
    coords, _ = pack(Prompts((point,), (1,)), FRAME, RULE)
    np.testing.assert_allclose(coords[0, 0], np.array(point) * 0.64, rtol=1e-6)


def test_sam2_pads_a_box_too():
    rule = replace(RULE, pad_with_box=True)
    coords, labels = pack(Prompts(box=(0, 0, 10, 10)), FRAME, rule)
    assert labels[0].tolist() == [2, 3, -1, -2]
    assert coords[0, 2:].tolist() == [[0, 0], [0, 0]]
    assert pack(clicks(1), FRAME, rule)[1][0].tolist() == [1, -1, -2, -2]
    with pytest.raises(PromptError, match=r"take 5 slots \(SAM 2 adds one slot\).*--max-points 5"):
        pack(replace(clicks(2), box=(0, 0, 1, 1)), FRAME, rule)


def test_a_cure_is_one_that_an_export_takes():
    many = Prompts(((1, 1),) * 63, (1,) * 63)
    with pytest.raises(PromptError, match=r"take 64 slots .*: export again with --max-points 64"):
        pack(many, FRAME, RULE)
    with pytest.raises(PromptError, match=r"take 65 slots .*: give fewer prompts"):
        pack(replace(many, points=((1, 1),) * 64, labels=(1,) * 64), FRAME, RULE)
