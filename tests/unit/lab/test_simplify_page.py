"""The page of onnxsim's measurement: a line for every graph, and what they add up to."""

from __future__ import annotations

import pytest

from profiles.lab.simplify import table
from profiles.lab.simplify.measure import CONTROL, RAW, SIMPLIFIED
from tests.unit.lab.simplify_rows import graph, line, page, row


def test_a_ratio_is_of_the_minima_and_of_the_rounds():
    samples = graph()["samples_ms"]
    assert table.ratios(samples, SIMPLIFIED) == pytest.approx((0.9, 0.9))
    assert table.ratios(samples, CONTROL) == pytest.approx((1.1, 1.0))
    assert table.ratios({RAW: [1.0]}, CONTROL) is None
    # A round that was disturbed as a whole leaves the median alone.
    disturbed = {RAW: [10.0, 10.0, 70.0], SIMPLIFIED: [8.0, 8.0, 56.0]}
    assert table.ratios(disturbed, SIMPLIFIED) == pytest.approx((0.8, 0.8))


def test_the_page_has_a_line_for_every_graph():
    text = page(row(), row("demo", stale=True, graphs=[graph("mask_decoder")]))
    assert line(text, "| mobile_sam |") == [
        "mobile_sam",
        "fp32",
        "image_encoder",
        "10, 8",
        "7, 6",
        "20, 19",
        "3",
        "10",
        "0.900",
        "0.900",
        "1.100",
        "1.000",
        "2.0e-07",
        "120.2, 129.5",
    ]
    assert line(text, "| demo (stale) |")[2] == "mask_decoder"
    assert "2 of 66 rows are measured; 1 of them are stale" in text
    assert "onnxsim 9" in text
    assert "`python -m profiles.lab.simplify --write`" in text
    assert "Nothing failed" in text


def test_what_was_not_timed_or_not_looked_at_is_empty():
    bare = graph(loaded={RAW: None, SIMPLIFIED: None})
    del bare["samples_ms"]
    text = page(row(graphs=[bare]))
    cells = line(text, "| mobile_sam |")
    assert cells[4] == ""
    assert cells[6:12] == [""] * 6
    assert line(text, "| image_encoder |")[1:6] == ["0", "", "", "", ""]


def test_the_summary_gives_the_spread_of_each_kind_of_graph():
    faster = {RAW: [10.0], SIMPLIFIED: [8.0], CONTROL: [10.0]}
    no_control = {RAW: [10.0], SIMPLIFIED: [9.5]}
    text = page(
        row("a", graphs=[graph(samples_ms=faster)]),
        row("b", graphs=[graph(), graph("mask_decoder")]),
        row("c", graphs=[graph(samples_ms=no_control)]),
    )
    assert line(text, "| image_encoder |") == [
        "image_encoder",
        "3",
        "0.900 (0.800 to 0.950)",
        "0.900 (0.800 to 0.950)",
        "1.050 (1.000 to 1.100)",
        "1.000 (1.000 to 1.000)",
        "0.800 (0.800 to 0.800)",
        "0.950 (0.950 to 0.950)",
        "2.0e-07",
    ]
    assert line(text, "| mask_decoder |")[1] == "1"


def test_graphs_with_the_same_changes_share_a_line():
    text = page(row("a"), row("b", "fp16"))
    assert "| a fp32, b fp16 | image_encoder | Add -2, Gemm +4, MatMul -4 |" in text


def test_a_failure_is_a_line_with_its_reason():
    broken = {"name": "mask_decoder", "error": "simplify: killed by signal 11"}
    failed = row("b", skipped="export: needed more than 8.0 GB")
    del failed["graphs"]
    text = page(row("a", graphs=[graph(), broken]), failed)
    assert "- a-onnx-fp32 mask_decoder: simplify: killed by signal 11" in text
    assert "- b-onnx-fp32: export: needed more than 8.0 GB" in text
    assert "Nothing failed" not in text
    assert line(text, "| a | fp32")[2] == "image_encoder"
