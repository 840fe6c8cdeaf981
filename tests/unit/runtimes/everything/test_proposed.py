"""Points that a head proposes: peaks of its scores, and what is asked of them."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.errors import RequestError
from runtimes.everything import everything
from runtimes.everything.steps.peaks import peaks
from tests.unit.runtimes.everything.test_everything import WHITE, Discs


def test_peaks_are_higher_than_all_around_them_the_highest_first():
    scores = np.zeros((5, 6), np.float32)
    scores[1, 1], scores[1, 2], scores[4, 5], scores[3, 1] = 0.5, 0.4, 0.9, 0.3
    places, rated = peaks(scores)
    assert rated[:3].tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert places[0].tolist() == [5.5, 4.5]  # at two edges: in the middle of its cell
    # Parabolas through 0, 0.5, 0.4 along the row, and 0, 0.5, 0 down the column.
    assert places[1].tolist() == pytest.approx([1.5 + 0.4 / 1.2, 1.5])


def test_equal_neighbours_are_one_peak_and_what_is_no_number_is_none():
    scores = np.full((3, 4), -1, np.float32)
    scores[1, 1:3] = 0.5
    assert len(peaks(scores)[1]) == 1
    scores[1, 1:3] = np.nan
    assert np.isfinite(peaks(scores)[1]).all()
    assert len(peaks(np.full((3, 4), np.nan, np.float32))[1]) == 0


class Proposing(Discs):
    """Proposes three points in the middles of its picture's thirds."""

    def proposals(self):
        points = np.array([[10.0, 20.0], [30.0, 20.0], [50.0, 20.0]])
        return points, np.float32([0.8, 0.4, 0.1])


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, 2),
        ({"proposal_thresh": 0.5}, 1),
        ({"proposal_thresh": 0}, 3),
        ({"max_proposals": 1}, 1),
    ],
)
def test_the_best_points_are_asked(options, asked):
    found = everything(Proposing(), WHITE, "proposed", **options)
    assert found.asked.prompts == found.asked.planned == asked
    assert {each.point_coords for each in found} == {(10.0, 20.0), (30.0, 20.0), (50.0, 20.0)} & {
        (10.0 + 20 * at, 20.0) for at in range(asked)
    }


def test_nothing_proposed_is_nothing_found():
    found = everything(Proposing(), WHITE, "proposed", proposal_thresh=0.9)
    assert (len(found), found.asked.prompts) == (0, 0)


def test_a_network_without_the_head_is_refused():
    with pytest.raises(RequestError, match="needs a network with a head that proposes points"):
        everything(Discs(), WHITE, "proposed")
