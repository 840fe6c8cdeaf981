"""Tracked frames in profiles: devices that have none, and what becomes of their numbers."""

from __future__ import annotations

from dataclasses import replace

from exporter.progress import silent
from profiles import cli, kinds
from profiles.collect import collect
from profiles.numbers.summary import quantities, summarise
from profiles.numbers.verdicts import verdicts
from profiles.schema import parse_profile
from runtimes.frames import FramePart, frame_runs, frame_title
from tests.unit import video_bundle
from tests.unit.profile_making import DECODER, MS, FakeDevice, graph_run, plan, profile


def _with_frames():
    made = profile()
    whole = graph_run(frame_title(1), 40)
    part = FramePart(DECODER, 7, 9, tuple(spent // 4 for spent in whole.samples_ns))
    frames = frame_runs(whole, 1, (part,))
    repeats = (replace(r, runs=(*r.runs, *frames)) for r in made.repeats)
    return replace(made, repeats=tuple(repeats))


def test_a_runner_without_frames_is_refused_if_they_were_asked_for(
    tmp_path, monkeypatch, capsys
) -> None:
    video_bundle.build(tmp_path / "video")
    store, said = tmp_path / "p.jsonl", list[str]()
    [made] = collect(plan(store, tmp_path / "video"), [FakeDevice()], said.append).profiles
    assert any("no tracked frame, 3 objects: the runner on this device" in line for line in said)
    assert "no tracked frame was measured" in " ".join(summarise(made).marks)
    device = FakeDevice()
    asked = plan(store, tmp_path / "video", objects=(1,))
    [(_, error)] = collect(asked, [device], silent).failures
    assert "times no tracked frame: leave --objects out" in str(error)
    assert device.log == []
    monkeypatch.setattr(kinds, "find", lambda name: device)
    mode = ["--mode", "tracked-frame", "--quiet", str(tmp_path / "video")]
    assert cli.main(mode) == 2
    assert "android:A1 has no --mode tracked-frame: the runner" in capsys.readouterr().err
    assert device.log == []


def test_a_frame_stands_beside_the_graphs_that_it_calls() -> None:
    made = _with_frames()
    rows = {row.graph: row for row in summarise(made).graphs}
    assert list(rows)[2:] == [frame_title(1), frame_title(1, DECODER)]
    whole, part = list(rows.values())[2:]
    assert whole.ms.p50 > 3.9 * part.ms.p50 > 30
    assert (whole.bytes, part.bytes) == (made.bundle.bytes, rows[DECODER].bytes)
    assert (part.load_ms, part.first_ms) == (7 / MS, 9 / MS)
    assert (whole.peak_mb, part.peak_mb, part.cores_used) == (100.0, None, None)
    assert parse_profile(made.to_line(), "line") == made


def test_frames_are_compared_and_are_no_part_of_an_image_and_a_click() -> None:
    made = _with_frames()
    shared = quantities(made)
    assert [len(shared[name]) for name in (frame_title(1), frame_title(1, DECODER))] == [3, 3]
    rows = verdicts([made, replace(made, method=replace(made.method, delegate="gpu"))])
    assert [list(row.graphs) for row in rows] == [["image_encoder", DECODER]] * 2
