"""Recall against calls of the decoder, a curve for each method."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from profiles.lab.everything.table import Row, recall
from profiles.lab.precision.table import alone
from profiles.pages.html.charts import Curve, Side, curves

DRAWINGS = {
    "everything-published.svg": "published thresholds",
    "everything-looser.svg": "looser thresholds",
}
HUES = {"grid": "a", "hierarchical": "b", "proposed": "c", "object-aware": "ink"}
LEAST = (0.5, 0.75)
"""IoU of a mask with the object that it finds: the full line, and the dashed one."""
_FIRST, _LAST = 2.0, 1500.0


def draw(rows: Sequence[Row], ways: Sequence[str], thresholds: str) -> str:
    """Draw the curves of the `ways` as a file, but those of `fast`: they find other masks."""
    named = {
        name: [w for w in ways if w.split(",")[0] == name and "fast" not in w] for name in HUES
    }
    lines = [
        Curve(f"{name}, IoU {least:g}", hue, _points(rows, named[name], least), least > LEAST[0])
        for name, hue in HUES.items()
        for least in LEAST
        if named[name]
    ]
    low = min(recalled for line in lines for _, recalled in line.points)
    across = Side("calls of the decoder, mean of a picture", _FIRST, _LAST)
    up = Side("share of the objects found", max(0.0, low - 0.05), 1.0)
    return alone(curves(lines, f"recall against calls of the decoder, {thresholds}", across, up))


def _points(rows: Sequence[Row], ways: Sequence[str], least: float) -> list[tuple[float, float]]:
    """(prompts, recall) of each way, fewest prompts first."""
    found = []
    for way in ways:
        mine = [row for row in rows if row.way == way]
        best = [iou for row in mine for iou in row.best]
        found.append((statistics.mean(row.prompts for row in mine), recall(best, least)))
    return sorted(found)
