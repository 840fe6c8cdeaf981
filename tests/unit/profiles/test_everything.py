"""`sam-bench --mode everything` on a real bundle that runs in a millisecond."""

from __future__ import annotations

import json
import re

import pytest

from profiles.cli import main
from runtimes.everything.timing import work
from tests.unit.runtimes.segmenters.tiny_alone import build_detector


@pytest.fixture
def bench(command_on_tiny):
    return command_on_tiny(main)


def test_prompts_a_second_stages_and_memory(bench, here):
    status, out, err = bench(
        "--mode", "everything", "--picture", "dog.png", "--points-per-side", 4, "--json"
    )
    assert (status, err) == (0, "")
    (row,) = json.loads(out)["everything"]
    assert row["prompts"] == 16
    assert len(row["total"]) == len(row["stages"]["decode"]) == 3
    assert row["prompts_per_s"] == pytest.approx(16 / row["median_total_s"])
    assert sum(times[0] for times in row["stages"].values()) <= row["total"][0]
    assert row["peak_mb"] >= row["loaded_mb"] > 0
    assert [path.name for path in here.iterdir()] == ["dog.png"]  # nothing is stored


def test_the_table_names_the_host(bench):
    status, out, _ = bench(
        "--mode", "everything", "--picture", "dog.png", "--points-per-side", 4, "--repeats", 1
    )
    assert status == 0
    assert out.startswith("this host:\n")
    assert "prompts/s" in out
    assert "decode s" in out


def test_a_bundle_that_finds_objects_has_no_grid(tmp_path):
    build_detector(tmp_path / "found-onnx-fp32")
    job = {"folder": str(tmp_path / "found-onnx-fp32"), "method": "detector", "repeats": 1}
    job["picture"] = "exporter/demo/sample.png"
    found = work(job)
    assert found["masks"] > 0
    assert found["prompts"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--delegate", "each"), "one delegate at a time"),
        (("--picture", "no.png"), "there is no picture no.png"),
        (("--runs", "3"), "takes no --runs"),
        (("--store", "s.jsonl"), "takes no --store"),
        (("--label", "x"), "takes no --label"),
        (("--way", "auto"), "--way is for a device"),
        (("--points-per-side", "2"), "from 4 to 256"),
    ],
)
def test_a_wrong_request_is_one_line(bench, arguments, says):
    status, _, err = bench("--mode", "everything", *arguments)
    assert status == 2
    assert says in err


@pytest.mark.parametrize("option", [("--points-per-side", 4), ("--picture", "dog.png")])
def test_its_options_go_with_the_mode(bench, here, option):
    status, out, err = bench(*option)
    assert (status, out) == (2, "")
    assert f"{option[0]} goes with --mode everything" in err


def test_the_table_has_no_prompts_of_a_detector(bench, here, tmp_path):
    build_detector(tmp_path / "found-onnx-fp32")
    asked = ("--mode", "everything", "--picture", "dog.png", "--repeats", 1)
    status, out, _ = bench(*asked, bundle=tmp_path / "found-onnx-fp32")
    assert status == 0
    head, row = (re.split(r" {2,}", line.strip()) for line in out.splitlines()[1:])
    cells = dict(zip(head, row, strict=True))
    assert (cells["prompts"], cells["prompts/s"]) == ("-", "-")
    assert int(cells["masks"]) > 0
