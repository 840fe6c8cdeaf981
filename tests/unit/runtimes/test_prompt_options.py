"""Prompts as a command line spells them."""

from __future__ import annotations

from runtimes.objects import Box, Point
from runtimes.prompt_options import box, point


def test_point_and_box():
    assert point("1,2") == Point(1, 2, 1, numbers=(1, 2))
    assert point("1.5,2,0@cat") == Point(1.5, 2, 0, "cat", numbers=(1.5, 2, 0))
    assert point("1.5,2,0@cat@12") == Point(1.5, 2, 0, "cat", 12, numbers=(1.5, 2, 0))
    assert point("1,2,5,0").numbers == (1, 2, 5, 0)
    assert box("1,2,3,4.5@2") == Box(1, 2, 3, 4.5, "2")
    assert box("1,2,3,4.5@2@7") == Box(1, 2, 3, 4.5, "2", 7)
