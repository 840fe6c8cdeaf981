"""Where operations run: shares by unit, and those that run elsewhere than they should."""

from __future__ import annotations

import dataclasses

import pytest

from profiles.numbers.placement import placements
from profiles.numbers.summary import summarise
from profiles.pages import html, markdown
from runtimes.device import Placed
from tests.unit.profile_making import DECODER, ENCODER, MS, graph_run, profile

ROWS = (
    Placed("conv_1", "ios17.conv", "neural engine", 0.6),
    Placed("gelu_1", "ios17.gelu", "cpu", 0.1),
    Placed("resize<b>", "ios17.resize_bilinear", "gpu", 0.3),
    Placed("reshape_2", "ios17.reshape", "neural engine", None),
)


def measured(delegate="all", **changes):
    """A profile whose encoder tells where its operations run."""
    made = profile()
    runs = (
        graph_run(ENCODER, placement=ROWS, cold_load_ns=2300 * MS, **changes),
        graph_run(DECODER),
    )
    first = dataclasses.replace(made.repeats[0], runs=runs)
    method = dataclasses.replace(made.method, delegate=delegate)
    return dataclasses.replace(made, repeats=(first, *made.repeats[1:]), method=method)


def test_shares_and_what_fell_off():
    (placement,) = placements(measured())
    assert [(s.unit, s.operations) for s in placement.shares] == [
        ("neural engine", 2),
        ("gpu", 1),
        ("cpu", 1),
    ]
    assert [s.cost for s in placement.shares] == pytest.approx([0.6, 0.3, 0.1])
    assert [row.name for row in placement.fallen] == ["resize<b>", "gelu_1"]


@pytest.mark.parametrize(
    ("delegate", "fallen"),
    [("cpuAndGPU", ["conv_1", "gelu_1", "reshape_2"]), ("cpuOnly", []), ("cpu", [])],
)
def test_what_falls_off_depends_on_what_was_asked_for(delegate, fallen):
    (placement,) = placements(measured(delegate))
    assert [row.name for row in placement.fallen] == fallen


def test_a_plan_without_costs():
    bare = tuple(dataclasses.replace(row, cost=None) for row in ROWS)
    made = measured()
    runs = (dataclasses.replace(made.repeats[0].runs[0], placement=bare),)
    repeat = dataclasses.replace(made.repeats[0], runs=runs)
    (placement,) = placements(dataclasses.replace(made, repeats=(repeat,)))
    assert {share.cost for share in placement.shares} == {None}


def test_the_pages_show_it():
    profiles = [measured("all"), measured("cpuOnly", ms=40.0)]
    page = html.render(profiles, "now")
    assert "Where operations run" in page
    assert (
        "resize&lt;b&gt; (ios17.resize_bilinear, gpu, 30 %), gelu_1 (ios17.gelu, cpu, 10 %)" in page
    )
    assert "By what computes" in page
    assert page.index(">all<") < page.index(">cpuOnly<")
    assert "the first load of image_encoder on the device, which compiles it, took 2300 ms" in page
    text = markdown.render(profiles, "now")
    assert (
        "image\\_encoder" in text
        or "image_encoder: operations by unit: neural engine 2 (60%)" in text
    )
    assert "not on the neural engine: resize&lt;b>" in text


def test_a_page_of_one_delegate_has_no_such_table():
    page = html.render([profile()], "now")
    assert "By what computes" not in page
    assert "Where operations run" not in page


def test_the_cold_load_is_the_median_of_those_that_had_one():
    encoder = summarise(measured()).graphs[0]
    assert encoder.cold_load_ms == pytest.approx(2300)
    assert summarise(profile()).graphs[0].cold_load_ms is None
