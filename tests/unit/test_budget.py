"""How many blocks go to float for a bar on the masks."""

from __future__ import annotations

import pytest

from exporter.budget import Measured, search, trade_off
from exporter.bundle.recipe import Block
from exporter.errors import ParityError

BLOCKS = tuple(
    Block(name, 100, 1 - loss) for name, loss in zip("abcd", (4e-3, 3e-3, 2e-3, 1e-3), strict=True)
)


def lowered(gain):
    """A network that loses 0.01 with no block in float, and gains with each that is."""

    def measure(kept):
        return Measured(kept, 0.99 + gain * len(kept), 10**6, None)

    return measure


def kept(trials):
    return ["".join(each.kept) for each in trials]


def test_a_bar_that_is_met_keeps_nothing():
    assert kept(search(BLOCKS, 0.99, lowered(0))) == [""]


def test_the_simulation_says_how_many_blocks_to_take_at_once():
    # Half of what is lost is wanted back: a and b lose 0.7 of it.
    assert kept(search(BLOCKS, 0.995, lowered(0.0025))) == ["", "ab"]


def test_more_are_taken_while_the_bar_is_not_met():
    assert kept(search(BLOCKS, 0.9945, lowered(0.0018))) == ["", "ab", "abc"]


def test_a_bar_out_of_reach_says_what_is_in_reach():
    with pytest.raises(ParityError) as error:
        search(BLOCKS, 0.999, lowered(0.0016))
    assert str(error.value) == (
        "--min-iou 0.999 is out of reach: 0.9964 was, with 4 of 4 blocks in float, and all of them "
        "were tried; give --min-iou 0.9964 or less, or a --precision of more bits"
    )


def test_a_network_without_blocks_left_fails_at_once():
    with pytest.raises(ParityError, match="with 0 of 0 blocks"):
        search((), 0.999, lowered(0))


def test_the_table_has_a_line_a_trial():
    lines = trade_off(
        [Measured((), 0.99, 10**6, None), Measured(("a", "b"), 0.995, 2 * 10**6, 1.5)]
    )
    assert [line.split() for line in lines] == [
        ["mean", "IoU", "MB", "ms", "here", "blocks", "in", "float"],
        ["0.9900", "1.00", "-", "none"],
        ["0.9950", "2.00", "1.5", "a,", "b"],
    ]
    assert trade_off(()) == []
