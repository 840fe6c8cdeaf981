"""`sam-bench` of a video bundle: whole tracked frames beside graphs, on phones and this host."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import pytest

from android_harness.devices.android import AndroidDevice
from android_harness.ways import Wanted
from android_harness.ways.capsule import Capsule
from android_harness.ways.capsule.assemble import build
from exporter.cache import default_cache
from exporter.errors import DownloadError
from profiles import kinds
from profiles.method import objects
from profiles.store import Store
from profiles.tracked_frame import shown
from runtimes.device import Method
from runtimes.devices.host import HostBench
from runtimes.frames import frame_title
from tests.device.android_kit import assert_tidy, connection_to, look_at, scripted
from tests.device.conftest import CACHE
from tests.device.video_kit import build_video

QUICK = ("--repeats", "1", "--no-check")
GRAPHS = ["image_encoder", "mask_decoder", "memory_encoder", "memory_query", "memory_attention"]
IN_ORDER = ["image_encoder", "memory_query", "memory_attention", "mask_decoder", "memory_encoder"]


def _titles(count):
    return [frame_title(count), *(frame_title(count, graph) for graph in IN_ORDER)]


def test_a_video_is_measured_by_its_frames(sam_bench, phone, tmp_path, capsys):
    folder = tmp_path / "video-onnx-fp32"
    build_video(folder)
    assert sam_bench(*QUICK, folder) == 0
    table = capsys.readouterr().out
    assert sam_bench("list", "--json", device="") == 0
    [summary] = json.loads(capsys.readouterr().out)
    rows = {row["graph"]: row for row in summary["graphs"]}
    assert list(rows) == [*GRAPHS, *_titles(1), *_titles(3)]
    [repeat] = Store(tmp_path / "p.jsonl").read()[0].repeats
    runs = {run.graph: run for run in repeat.runs}
    for count in (1, 3):
        whole, *parts = (rows[title] for title in _titles(count))
        assert all(part["ms"]["p50"] > 0 for part in (whole, *parts))
        assert whole["peak_mb"]
        assert whole["way"] == "capsule"
        _assert_parts([runs[title] for title in _titles(count)])
    pages = [tmp_path / "r.html", tmp_path / "r.md"]
    assert sam_bench("report", "-o", pages[0], "--markdown", pages[1], device="") == 0
    html, markdown = (page.read_text() for page in pages)
    for page in (table, html, markdown):
        assert all(title in page for title in (*_titles(1), *_titles(3)))
    assert "tracked frame, 3 objects: how long calls took" in html
    assert "objects: mask_decoder: how long calls took" not in html
    assert_tidy(phone)


def _assert_parts(runs):
    whole, *parts = (run.samples_ns for run in runs)
    assert whole
    assert all(0 < sum(spent) <= total for total, *spent in zip(whole, *parts, strict=True))


def test_frames_alone(sam_bench, phone, tmp_path, capsys):
    """Nothing is stored, and a table has a column for each graph."""
    folder = tmp_path / "video-onnx-fp32"
    build_video(folder)
    mode = ("--mode", "tracked-frame", "--no-check")
    assert sam_bench(*mode, "--json", "--objects", "1,2", folder) == 0
    rows = json.loads(capsys.readouterr().out)["frames"]
    assert [(row["objects"], row["frames"]) for row in rows] == [(1, 2), (2, 1)]
    for row in rows:
        assert list(row["graph_ms"]) == IN_ORDER
        assert min(row["frame_ms"], *row["graph_ms"].values()) > 0
        assert row["peak_mb"] > 0
    heading, head, *lines = shown(rows).splitlines()
    assert "video-onnx-fp32: parity was not checked" in lines
    assert heading.startswith(f"android:{phone.serial} (simulated: no phone's times), onnxruntime")
    assert head.split("  ")[0] == "bundle"
    assert "objects  frames  frame ms  image_encoder ms  memory_query ms" in head
    assert not (tmp_path / "p.jsonl").exists()
    assert_tidy(phone)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repeats", "2"), "--mode tracked-frame takes no --repeats: one process for each"),
        (("--label", "x"), "--mode tracked-frame takes no --label"),
        (("--delegate", "each"), "takes one delegate at a time"),
        (
            (),
            "tiny-onnx-fp32 has no memory of earlier frames, so it tracks no objects: leave --mod",
        ),
    ],
)
def test_frames_alone_are_refused_by_name(sam_bench, tiny_folder, capsys, words, said):
    asked = ("--mode", "tracked-frame", *words, tiny_folder)
    assert sam_bench(*asked, device="host") == 2
    assert said in capsys.readouterr().err


def test_frames_of_this_host(tmp_path):
    bundle = build_video(tmp_path / "video")
    method = Method(runs=12, seconds=0.0, warmup_seconds=0.0, warmup_least_seconds=0.0, threads=1)
    runs = HostBench(method, ()).run_frame(bundle, 2)
    assert [run.graph for run in runs] == _titles(2)
    _assert_parts(runs)
    assert len(runs[0].samples_ns) == 4  # of two objects, a third of a graph's calls
    assert runs[0].load_ns == sum(run.load_ns for run in runs[1:])
    assert runs[0].cpu_ns
    assert runs[0].peak_bytes


def test_an_arm64_phone(phone_arm64, adb_environment, tmp_path, monkeypatch):
    """Under qemu: that the loop runs there is what this proves; its times mean nothing."""
    look_at(adb_environment, monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    missing = Capsule().missing(Wanted("arm64-v8a", "onnx", "cpu"))
    if missing:
        pytest.skip(missing)
    try:
        build("arm64-v8a", "onnx", default_cache({"XDG_CACHE_HOME": str(CACHE)}))
    except DownloadError as error:
        pytest.skip(str(error))
    bundle = build_video(tmp_path / "video")
    method = Method(runs=3, seconds=0.0, warmup_seconds=0.0, check=False, cores="all", threads=1)
    device = AndroidDevice(connection_to(phone_arm64), f"android:{phone_arm64.serial}")
    with device.open(replace(method, objects=(3,))) as bench:
        runs = bench.run_frame(bundle, 3)
    assert [run.graph for run in runs] == _titles(3)
    _assert_parts(runs)
    assert_tidy(phone_arm64)


def test_a_bundle_without_memory_is_refused_by_name(sam_bench, tiny_folder, capsys):
    assert sam_bench("--objects", "1", tiny_folder, device="host") == 2
    said = capsys.readouterr().err
    assert "tiny-onnx-fp32 has no memory of earlier frames" in said
    assert "leave --objects out" in said


@pytest.mark.parametrize("text", ["0", "1,", "1,1", "two", "17", "-1", "1.5", ""])
def test_what_is_no_number_of_objects_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="numbers of objects, each once, from 1"):
        objects(text)
    assert objects("3,1") == (1, 3)


def test_everything_has_no_objects(sam_bench, tiny_folder, capsys):
    assert sam_bench("--mode", "everything", "--objects", "1", tiny_folder) == 2
    assert "--mode everything takes no --objects" in capsys.readouterr().err


def test_a_way_without_frames(sam_bench, phone, tmp_path, capsys, monkeypatch):
    """It times graphs and says what is missing; asked for frames, it is refused before any time."""
    folder = tmp_path / "video"
    build_video(folder)
    device = scripted(phone, tmp_path)
    monkeypatch.setattr(kinds, "find", lambda name: device)
    assert sam_bench(*QUICK, folder) == 0
    said = capsys.readouterr().out
    assert "no tracked frame was measured" in said
    assert "tracked frame, 1 object" not in said
    for words in (QUICK, ("--no-check", "--mode", "tracked-frame")):
        assert sam_bench(*words, "--objects", "1", folder) == 2
        assert "script times no tracked frame: take another --way" in capsys.readouterr().err
    assert len(Store(tmp_path / "p.jsonl").read()) == 1
