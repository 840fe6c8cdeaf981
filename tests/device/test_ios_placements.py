"""`sam-bench --delegate each` on a simulated phone: Core AI, played by ONNX Runtime."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from exporter.bundle.folder import read_manifest, seal
from ios_harness import exchange
from ios_harness.units import CORE_AI
from profiles import cli
from profiles.store import Store
from runtimes.measures import find_misses
from tests.device.ios_kit import SHORT, only_line, phone_world
from tests.fakes.apple.world import UDID
from tests.unit.tiny_bundle import build

IOS = f"ios:{UDID}"
ASSET = "segment_anything.aimodel"


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A phone whose GPU is wrong and whose Neural Engine ends the app."""
    world = phone_world(tmp_path, monkeypatch)
    monkeypatch.setattr(exchange, "LOG_SECONDS", 0.0)
    monkeypatch.setenv("SAM_RUNNER_WRONG", "preferGPU")
    monkeypatch.setenv("SAM_RUNNER_ENDS", "preferNeuralEngine")
    return world


@pytest.fixture
def bundle(tmp_path):
    """A bundle of one file with two functions, as Core AI's are; the played runtime opens it."""
    made = tmp_path / "tiny-coreai-fp32"
    build(made)
    manifest = read_manifest(made)
    asset = made / ASSET
    asset.mkdir()
    for graph in manifest.graphs:
        shutil.move(made / graph.file, asset / f"{graph.spec.name}.onnx")
    graphs = tuple(replace(g, file=ASSET, signature=g.spec.name) for g in manifest.graphs)
    (made / "manifest.json").unlink()
    seal(made, replace(manifest, target="coreai", graphs=graphs, files={}))
    return made


def run(tmp_path, *words: object) -> int:
    store = ("--store", str(tmp_path / "p.jsonl"))
    return cli.main([*SHORT, "--quiet", *store, "--device", IOS, *map(str, words)])


def test_every_placement_is_judged_and_what_is_wrong_is_kept_with_its_reason(
    world, bundle, tmp_path, capsys
):
    assert run(tmp_path, bundle, "--delegate", "each") == 0
    found = {p.method.delegate: p for p in Store(tmp_path / "p.jsonl").read()}
    assert list(found) == list(CORE_AI)
    for name in ("all", "cpuOnly"):
        assert (found[name].refused, find_misses(found[name].parity)) == ("", [])
        (repeat,) = found[name].repeats
        assert [r.graph for r in repeat.runs] == ["image_encoder", "mask_decoder"]
        assert all(r.cold_load_ns and "playing Core AI" in r.runtime for r in repeat.runs)
    wrong, ended = found["preferGPU"], found["preferNeuralEngine"]
    assert "is under the floor" in wrong.refused
    assert find_misses(wrong.parity)
    assert "ended" in ended.refused or "crash" in ended.refused
    assert (wrong.repeats, ended.repeats, ended.parity) == ((), (), ())
    out = capsys.readouterr().out
    assert out.count("(fastest)") == 1
    rows = [line for line in out.splitlines() if line.startswith("tiny-coreai-fp32  prefer")]
    assert [row.split()[1] for row in rows] == ["preferGPU", "preferNeuralEngine"]
    assert "its floors missed" in rows[0]

    page, text = tmp_path / "r.html", tmp_path / "r.md"
    words = ["report", "--store", str(tmp_path / "p.jsonl")]
    assert cli.main([*words, "-o", str(page), "--markdown", str(text)]) == 0
    for report in (page.read_text(), text.read_text()):
        assert "Placements" in report
        assert "preferNeuralEngine" in report
        assert "is under the floor" in report
    capsys.readouterr()


def test_a_placement_of_another_runtime_is_refused(world, bundle, tmp_path, capsys):
    assert run(tmp_path, bundle, "--delegate", "cpuAndGPU") == 2
    assert "a coreai bundle has no delegate 'cpuAndGPU'" in only_line(capsys)


def test_without_each_a_wrong_placement_is_a_failure_and_not_kept(world, bundle, tmp_path, capsys):
    assert run(tmp_path, bundle, "--delegate", "preferGPU") == 1
    assert "nothing was timed" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()
