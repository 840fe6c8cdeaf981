"""The table of input sizes: what a row says; the committed page is of the committed data."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from profiles.lab import steps
from profiles.lab.input_size import table


def committed():
    return json.loads((steps.RESULTS / "input-size.json").read_text(encoding="utf-8"))


def test_the_committed_page_and_drawing_are_those_of_the_data():
    results = committed()
    page = (steps.RESULTS / "input-size.md").read_text(encoding="utf-8")
    assert page == table.render(results)
    assert (steps.RESULTS / table.DRAWING).read_text(encoding="utf-8") == table.draw(results)


def test_the_committed_figures_are_of_many_scenes_and_say_what_a_size_costs():
    results = committed()
    assert results["scenes"] >= 200
    rows = {row["side"]: row for row in results["rows"]}
    whole = rows.pop(results["published"])
    assert all(row["iou"] < whole["iou"] for row in rows.values())
    for side, row in rows.items():
        work = row["multiply_accumulates"]["image_encoder"]
        share = work / whole["multiply_accumulates"]["image_encoder"]
        assert 0.7 < share / (side / results["published"]) ** 2 < 1.3


def test_a_row_says_work_time_and_accuracy():
    results = committed() | {
        "kinds": ["box"],
        "rows": [
            {
                "side": 96,
                "iou": 0.75,
                "kinds": {"box": 0.8125},
                "ratios": {"image_encoder": 0.25, "mask_decoder": 0.5},
                "multiply_accumulates": {"image_encoder": 87_100_000, "mask_decoder": 6_350_000},
            }
        ],
    }
    assert "| 96 | 0.0871 | 0.00635 | 0.25 | 0.50 | 0.7500 | 0.812 |" in table.render(results)
    assert ElementTree.fromstring(table.draw(results)).tag.endswith("svg")
