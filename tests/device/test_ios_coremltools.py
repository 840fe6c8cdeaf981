"""`--way coremltools`: on a fake of coremltools' runner, whose names are the real one's."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ios_harness import modelrunner_bench
from ios_harness.devices import ios
from ios_harness.transports import NO_RUNNER
from profiles import cli
from profiles.store import Store
from runtimes.device import Placed
from tests.device.ios_kit import ROOT, SHORT, look_at, only_line, put_program
from tests.fakes.apple.world import UDID, FakeDevice, World
from tests.unit.tiny_bundle import Recipe, build, seal

IOS = f"ios:{UDID}"
FAKE = ROOT / "tests" / "fakes" / "coremltools9"
TEAM = ("--team", "TEAM123456")


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    """A phone without our runner, on what passes for a Mac."""
    world = World(tmp_path / "apple")
    world.folder.mkdir()
    world.add(FakeDevice(installed=False))
    put_program(tmp_path / "bin", "xcrun")
    look_at(world, tmp_path / "bin", monkeypatch)
    monkeypatch.syspath_prepend(str(FAKE))  # the child's path is ours
    monkeypatch.setenv("SAM_EXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(modelrunner_bench.TEAM, "")
    monkeypatch.setattr(modelrunner_bench.sys, "platform", "darwin")
    monkeypatch.setattr(modelrunner_bench, "_WORKSPACE", Path())
    return world


@pytest.fixture
def bundle(tmp_path) -> Path:
    made = build(tmp_path / "bundle", Recipe())
    seal(tmp_path / "bundle", replace(made, target="coreml", content_sha256=""))
    return tmp_path / "bundle"


@pytest.fixture
def measure(tmp_path):
    """`sam-bench BUNDLE ARGUMENTS` on the phone; its exit status."""
    store = ("--store", str(tmp_path / "p.jsonl"))
    return lambda *words: cli.main([*SHORT, "--quiet", *store, "--device", IOS, *map(str, words)])


@pytest.mark.parametrize("words", [(), ("--way", "coremltools", "--delegate", "cpuOnly")])
def test_it_is_taken_first_without_our_runner(world, measure, bundle, tmp_path, words) -> None:
    assert measure(*TEAM, *words, bundle) == 0
    (profile,) = Store(tmp_path / "p.jsonl").read()
    assert profile.parity
    (repeat,) = profile.repeats
    assert repeat.session is None
    assert "coremltools tells no thermal state and no power mode" in repeat.before.notes
    for run in repeat.runs:
        assert run.way == "coremltools"
        assert re.match(r"coremltools \d", run.runtime)
        assert len(run.samples_ns) >= 3
        assert run.cold_load_ns is not None
        assert run.load_ns > 0
        assert run.placement == (
            Placed("conv_out", "conv", "neural engine", 0.75),
            Placed("gelu_out", "gelu", "cpu", 0.25),
        )
    sessions = [line for line in world.calls() if "session" in line]
    assert len(sessions) == 2 * 3  # the check and each graph, each begun and ended
    assert sum("ends" in line for line in sessions) == 3


def test_what_computes_something_else_is_not_timed(world, measure, tmp_path, capsys) -> None:
    made = build(tmp_path / "scaled", Recipe(flaw="scaled"))
    seal(tmp_path / "scaled", replace(made, target="coreml", content_sha256=""))
    assert measure(*TEAM, tmp_path / "scaled") == 1
    assert "nothing was timed" in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()


def test_times_are_kept_without_a_placement(world, measure, bundle, tmp_path) -> None:
    world.change(version="17.2")
    assert measure(*TEAM, "--no-check", bundle) == 0
    (profile,) = Store(tmp_path / "p.jsonl").read()
    run = profile.repeats[0].runs[0]
    assert run.placement == ()
    assert any(note.startswith("no placement: Remote device") for note in run.notes)


@pytest.mark.parametrize(
    ("fault", "words", "status", "says"),
    [
        ("lost", (*TEAM,), 1, "The connection was lost."),
        ("hang", (*TEAM, "--deadline", "6"), 1, "was not done after 6 s: give --deadline more"),
        ("", ("--team", "OTHER"), 1, "signing failed"),
        ("", ("--team", "A; rm"), 2, "--team takes the ten letters and digits"),
        ("", (), 2, "the runner is not installed: build and sign it"),
        ("", ("--way", "coremltools"), 2, "must be signed: give your team by --team"),
    ],
)
def test_faults(world, measure, bundle, tmp_path, capsys, fault, words, status, says) -> None:
    world.change(fault=fault)
    assert measure("--no-check", *words, bundle) == status
    assert says in only_line(capsys)
    assert not (tmp_path / "p.jsonl").exists()
    begun = [line for line in world.calls() if line.endswith("begins")]
    ended = [line for line in world.calls() if line.endswith("ends")]
    assert len(begun) == len(ended) or fault == "hang"


def test_a_bundle_that_it_cannot_call(world, measure, tmp_path, capsys) -> None:
    build(tmp_path / "onnx", Recipe())
    assert measure(*TEAM, tmp_path / "onnx") == 2
    assert "is a onnx bundle, and --way coremltools runs coreml" in only_line(capsys)


def test_a_phone_without_our_runner_is_listed_as_usable_only_with_it(world, monkeypatch) -> None:
    assert [row.problem for row in ios.listed()] == [NO_RUNNER]
    monkeypatch.setenv(modelrunner_bench.TEAM, "TEAM123456")
    assert [row.problem for row in ios.listed()] == [""]


def test_elsewhere_it_says_why_not(monkeypatch) -> None:
    monkeypatch.setattr(modelrunner_bench.sys, "platform", "linux")
    assert "needs a Mac" in modelrunner_bench.missing()


EXPERIMENTAL = "models/ml_program/experimental"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("models/__init__.py", "models/model.py"),
        *((f"{EXPERIMENTAL}/{name}.py",) * 2 for name in ("async_wrapper", "perf_utils")),
        (f"{EXPERIMENTAL}/remote_device.py",) * 2,
    ],
)
def test_the_fake_has_the_real_names(ours, theirs) -> None:
    """Every public method and field of the fake is in the real module, with the same arguments."""
    found = importlib.util.find_spec("coremltools")
    if found is None or found.origin is None:
        pytest.skip("coremltools is missing: pip install 'sam-export[coreml]'")
    real = _public((Path(found.origin).parent / theirs).read_text())
    fake = _public((FAKE / "coremltools" / ours).read_text())
    assert fake
    assert {name: real.get(name) for name in fake} == fake


_OURS = {"DeviceCtlError", "MLNeuralEngineComputeDevice", "MLCPUComputeDevice"}
"""In the real modules they are private, or elsewhere."""


def _public(source: str) -> dict[str, list[str]]:
    """`Class.method` -> names of its arguments; `Class.field` -> none."""
    found: dict[str, list[str]] = {}

    def take(node: ast.ClassDef, path: str) -> None:
        for part in node.body:
            if isinstance(part, ast.ClassDef):
                take(part, f"{path}.{part.name}")
            elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{path}.{part.name}"] = [a.arg for a in part.args.args]
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                found[f"{path}.{part.target.id}"] = []

    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name not in _OURS and node.name[0] != "_":
            take(node, node.name)
    skipped = "MLModelAsyncWrapper.__init__"  # abstract in the real one; made by from_spec_or_path
    return {name: arguments for name, arguments in found.items() if name != skipped}
