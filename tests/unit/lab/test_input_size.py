"""The table of input sizes: what a row says, and its drawing."""

from __future__ import annotations

from xml.etree import ElementTree

from profiles.lab.input_size import table

ROW = {
    "side": 96,
    "iou": 0.75,
    "kinds": {"box": 0.8125},
    "ratios": {"image_encoder": 0.25, "mask_decoder": 0.5},
    "multiply_accumulates": {"image_encoder": 87_100_000, "mask_decoder": 6_350_000},
}
RESULTS = {
    "published": 192,
    "scenes": 3,
    "masks": 40,
    "kinds": ["box"],
    "command": "python -m profiles.lab.input_size",
    "date": "2026-11-30",
    "machine": {"cpu": "x", "cores": 2, "system": "y"},
    "rows": [ROW, ROW | {"side": 192, "iou": 0.875}],
}


def test_a_row_says_work_time_and_accuracy():
    page = table.render(RESULTS)
    assert "| 96 | 0.0871 | 0.00635 | 0.25 | 0.50 | 0.7500 | 0.812 |" in page
    assert "| 192 | 0.0871 | 0.00635 | 0.25 | 0.50 | 0.8750 | 0.812 |" in page
    assert "trained at 192 pixels alone" in page
    assert "3 scenes" in page
    assert "Host timings, not phone timings" in page


def test_the_drawing_has_a_mark_for_each_size():
    drawn = table.draw(RESULTS)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn.count("0.25, IoU 0.7500") >= 1
    assert drawn.count("0.25, IoU 0.8750") >= 1
