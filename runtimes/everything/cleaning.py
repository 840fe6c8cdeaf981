"""Holes and islands of finished masks, as `postprocess_small_regions` of SAM's generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtimes.everything.segments import Segment
from runtimes.everything.steps.boxes import suppress
from runtimes.everything.steps.regions import without_small
from runtimes.everything.steps.runs import area_of, box_of


def clean(segments: Sequence[Segment], area: float, most: float) -> tuple[Segment, ...]:
    """Fill holes and remove islands below `area` pixels, then suppress again.

    An untouched mask wins over a changed one, and keeps its box; the scores of both stay those of
    the mask before.

    Args:
        segments: best first.
        area: pixels.
        most: box IoU above which the later mask goes.
    """
    cleaned = [without_small(each.runs, each.size, area) for each in segments]
    boxes = [box_of(runs, each.size[0]) for (runs, _), each in zip(cleaned, segments, strict=True)]
    scores = np.array([0.0 if changed else 1.0 for _, changed in cleaned], np.float32)
    kept = suppress(np.array(boxes, np.float32).reshape(-1, 4), scores, most)
    found = []
    for at in kept.tolist():
        (runs, changed), (x0, y0, x1, y1) = cleaned[at], boxes[at]
        one = segments[at]
        if changed:
            one = replace(one, runs=runs, area=area_of(runs), bbox=(x0, y0, x1 - x0, y1 - y0))
        found.append(one)
    return tuple(found)
