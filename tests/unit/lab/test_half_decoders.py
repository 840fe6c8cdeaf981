"""What the page on Core AI's decoders says of a row."""

from __future__ import annotations

from profiles.lab.half_decoders import families, missed, render
from runtimes.measures import IOUS, MASKS

ROW = {"variant": "demo", "trained": True, "cases": 7, "score": 0.98, "fp32": 968_000, "fp16": 8e5}


def test_a_row_says_which_goals_it_misses():
    good = ROW | {MASKS: 63.61, IOUS: 50.0}
    assert missed(good) == []
    assert "| demo | trained | 7 | 63.6 | 50.0 | 0.98 | 0.97, 0.80 | met |" in render([good])
    bad = good | {MASKS: float("nan"), IOUS: 49.9}
    assert missed(bad) == [MASKS, IOUS]
    assert f"{MASKS} **missed**, {IOUS} **missed**" in render([bad])


def test_each_family_has_its_smallest_encoder():
    found = list(families())
    assert {"demo", "mobile_sam", "efficient_sam_vitt", "light_hq"} <= set(found)
    assert not {"efficient_sam_vits", "hq_vit_b", "fastsam_s", "rap_sam_r50"} & set(found)
