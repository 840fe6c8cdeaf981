"""Names in a plot: each can be read, however many points there are."""

from __future__ import annotations

import random
from xml.etree import ElementTree

import pytest

from profiles.pages.html.charts import STEP, Mark, Side, plot


@pytest.mark.parametrize("count", [1, 2, 12, 300])
def test_no_name_lies_on_another_or_outside(count):
    draw = random.Random(count)
    marks = [
        Mark(f"bundle-{at}", "onnx", "host", "1 MB, 2 ms", (draw.random(), draw.random()), None)
        for at in range(count)
    ]
    picture = ElementTree.fromstring(str(plot(marks, "title", Side("x", 0, 1), Side("y", 0, 1))))
    height = float(picture.get("viewBox").split()[3])
    names = [each for each in picture.iter("text") if (each.text or "").startswith("bundle-")]
    assert len(names) == count
    lines = sorted(float(each.get("y")) for each in names)
    assert lines[0] > 0
    assert lines[-1] < height - STEP
    overlapping = [
        (one.text, other.text)
        for at, one in enumerate(names)
        for other in names[:at]
        if abs(float(one.get("y")) - float(other.get("y"))) < STEP - 1
        and abs(float(one.get("x")) - float(other.get("x"))) < 60
    ]
    assert not overlapping
