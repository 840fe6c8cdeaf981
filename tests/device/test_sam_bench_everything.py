"""`sam-bench --mode everything` on simulated phones: the runner asks every prompt by itself."""

from __future__ import annotations

import contextlib
import json

import pytest

from android_harness.bench import AndroidBench
from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule
from android_harness.ways.capsule.assemble import build
from exporter.cache import default_cache
from exporter.errors import DownloadError
from profiles import kinds
from tests.device.android_kit import assert_tidy, scripted
from tests.device.conftest import CACHE
from tests.unit.runtimes.segmenters.tiny_alone import build_detector
from tests.unit.runtimes.segmenters.tiny_halves import build_halves
from tests.unit.tiny_bundle import Recipe
from tests.unit.tiny_bundle import build as build_tiny

ASKED = ("--mode", "everything", "--points-per-side", "5")
ORDER = ["image_encoder", "image_side", "token_decoder", "mask_head"]


def _row(capsys):
    (row,) = json.loads(capsys.readouterr().out)["everything"]
    return row


def test_prompts_by_graph_on_a_phone(sam_bench, phone, tmp_path, capsys):
    build_halves(tmp_path / "halves")
    assert sam_bench(*ASKED, "--json", tmp_path / "halves") == 0
    row = _row(capsys)
    assert (row["device"], row["device_class"]) == (f"android:{phone.serial}", "simulated")
    assert row["prompts"] == 25
    # Predicted IoUs fall from left to right: one column of the grid has a mask that passes.
    assert row["calls"] == dict(zip(ORDER, (1, 1, 25, 5), strict=True))
    assert list(row["stages"]) == ORDER
    assert all(len(times) == len(row["total"]) == 2 for times in row["stages"].values())
    for at, total in enumerate(row["total"]):
        assert 0 < sum(times[at] for times in row["stages"].values()) <= total
    assert row["prompts_per_s"] == pytest.approx(25 / row["median_total_s"])
    assert row["peak_mb"] >= row["loaded_mb"] > 0
    assert "masks" not in row
    assert_tidy(phone)


def test_the_table_says_whose_times_these_are(sam_bench, phone, tmp_path, capsys):
    build_tiny(tmp_path / "whole", Recipe(batch=3))
    assert sam_bench(*ASKED, "--device", "host", "--no-check", tmp_path / "whole") == 0
    phones, host = capsys.readouterr().out.split("\n\n")
    assert phones.startswith(f"android:{phone.serial} (simulated: no phone's times), onnxruntime")
    assert "parity was not checked" in phones
    assert "upscaling, filters and run lengths are the app's" in phones
    assert host.startswith("this host:\n")
    assert "masks" in host
    assert "masks" not in phones


def test_an_arm64_phone(sam_bench, phone_arm64, tmp_path, capsys):
    missing = Capsule().missing(Wanted("arm64-v8a", "onnx", "cpu"))
    if missing:
        pytest.skip(missing)
    try:
        build("arm64-v8a", "onnx", default_cache({"XDG_CACHE_HOME": str(CACHE)}))
    except DownloadError as error:
        pytest.skip(str(error))
    build_halves(tmp_path / "halves")
    device = f"android:{phone_arm64.serial}"
    assert sam_bench(*ASKED, "--json", tmp_path / "halves", device=device) == 0
    assert _row(capsys)["calls"] == dict(zip(ORDER, (1, 1, 25, 5), strict=True))
    assert_tidy(phone_arm64)


def test_a_bundle_that_computes_something_else_is_not_timed(sam_bench, tmp_path, capsys):
    build_tiny(tmp_path / "scaled", Recipe(flaw="scaled"))
    assert sam_bench(*ASKED, tmp_path / "scaled") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing was timed" in said.err


def test_a_bundle_without_clicks_is_refused_by_name(sam_bench, tmp_path, capsys):
    build_detector(tmp_path / "found-onnx-fp32")
    assert sam_bench(*ASKED, tmp_path / "found-onnx-fp32") == 2
    assert "found-onnx-fp32 takes no clicks on an encoded picture" in capsys.readouterr().err


def test_a_way_without_it_is_refused_by_name(sam_bench, phone, tmp_path, capsys, monkeypatch):
    build_tiny(tmp_path / "whole")
    device = scripted(phone, tmp_path)
    monkeypatch.setattr(kinds, "find", lambda name: device)
    assert sam_bench(*ASKED, "--no-check", tmp_path / "whole") == 2
    assert "script cannot do 'everything'; it can: graph, session" in capsys.readouterr().err


def test_a_device_without_it_is_refused_by_name(sam_bench, phone, tmp_path, capsys, monkeypatch):
    build_tiny(tmp_path / "whole")

    class Graphs:
        facts = staticmethod(scripted(phone, tmp_path).facts)

        def open(self, method):
            return contextlib.nullcontext(object())

    monkeypatch.setattr(kinds, "find", lambda name: Graphs())
    assert sam_bench(*ASKED, tmp_path / "whole") == 2
    assert "has no --mode everything: its runner calls graphs alone" in capsys.readouterr().err


def test_a_runner_that_says_nothing_of_it_is_refused(
    sam_bench, phone, tmp_path, capsys, monkeypatch
):
    build_tiny(tmp_path / "whole")
    device = scripted(phone, tmp_path)
    monkeypatch.setattr(kinds, "find", lambda name: device)
    monkeypatch.setattr(AndroidBench, "_demand", staticmethod(lambda way, mode: None))
    assert sam_bench(*ASKED, "--no-check", tmp_path / "whole") == 1
    assert "the runner's report has no times of everything" in capsys.readouterr().err
