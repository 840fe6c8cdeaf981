"""What the table of everything counts."""

from __future__ import annotations

import re

import numpy as np
import pytest

from profiles.lab.everything.__main__ import ious
from profiles.lab.everything.curves import draw
from profiles.lab.everything.table import Row, recall, table


def test_an_object_is_found_as_well_as_its_best_mask():
    truth = np.zeros((2, 4, 4), bool)
    truth[0, :2], truth[1, 3] = True, True
    found = [truth[0] & (np.arange(4) < 2), np.ones((4, 4), bool)]
    assert ious(found, truth) == [0.5, 0.25]
    assert ious([], truth) == [0.0, 0.0]


def test_recall_counts_its_threshold():
    assert recall([0.5, 0.49, 0.9, 0.0], 0.5) == 0.5


def test_a_row_has_the_means_of_its_scenes():
    rows = [
        Row("grid", 1, 100, 4, 1.0, [1.0, 0.6]),
        Row("grid", 2, 300, 6, 2.0, [0.0]),
        Row("boxes", 1, 2, 2, 0.1, [0.8, 0.8]),
    ]
    text = table(rows, ["grid", "boxes"])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[-1] in table(rows, ["grid"], ["boxes"]).splitlines()
    assert "2 held-out scenes" in text
    assert "with 3 objects" in text
    # Thresholds 0.5, 0.55 and 0.6 hold two of three, the other seven one.
    average = pytest.approx((3 * 2 + 7) / 30, abs=5e-4)
    cells = lines[-2].split("|")[1:-1]
    assert [cell.strip() for cell in cells[:3]] == ["grid", "200", "5.0"]
    assert float(cells[3]) == average
    assert [cell.strip() for cell in cells[4:]] == ["0.667", "0.333", "0.533", "1.50"]


def test_a_method_has_a_curve_from_few_prompts_to_many():
    ways = {"grid, 8 a side": 64, "grid, 4 a side": 16, "grid, 8 a side, fast": 64, "proposed": 9}
    rows = [Row(way, 1, prompts, 4, 1.0, [0.6, 0.9]) for way, prompts in ways.items()]
    drawn = draw(rows, list(ways), "published thresholds")
    assert drawn.count("<path") == 8  # two methods, at IoU 0.5 and 0.75, and each in the key
    assert drawn.count("stroke-dasharray") == 4
    assert drawn.count("<circle") == 6
    grid = re.search(r'd="M(\S+) (\S+)L(\S+) (\S+)"', drawn)
    assert grid
    left, top, right, other = map(float, grid.groups())
    assert left < right
    assert top == other  # the same recall
