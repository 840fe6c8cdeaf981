"""What the table of everything counts."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.lab.everything.__main__ import ious
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
    assert table(rows, ["grid"], ["boxes"]).splitlines()[-1] == text.splitlines()[-1]
    assert "2 held-out scenes" in text
    assert "with 3 objects" in text
    # Thresholds 0.5, 0.55 and 0.6 hold two of three, the other seven one.
    average = pytest.approx((3 * 2 + 7) / 30, abs=5e-4)
    cells = text.splitlines()[-2].split("|")[1:-1]
    assert [cell.strip() for cell in cells[:3]] == ["grid", "200", "5.0"]
    assert float(cells[3]) == average
    assert [cell.strip() for cell in cells[4:]] == ["0.667", "0.333", "0.533", "1.50"]
