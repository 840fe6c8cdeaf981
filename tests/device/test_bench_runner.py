"""The comparison with a bare loop: that it is one, and what it says."""

from __future__ import annotations

import pytest

from android_harness.runner.compilers import find_compiler
from android_harness.runtimes import needed_runtime
from android_harness.ways.capsule import wheels
from exporter.errors import RunnerError
from profiles.lab.bench import runner as bench
from tests.device.runner_kit import ABI, tiny_onnx, tiny_tflite


@pytest.mark.parametrize(("target", "make"), [("onnx", tiny_onnx), ("tflite", tiny_tflite)])
def test_both_programs_call_the_same_graph(target, make, tmp_path):
    if (
        not ABI
        or find_compiler(ABI) is None
        or wheels.installed(needed_runtime(target).wheel, ABI) is None
    ):
        pytest.skip(f"no C compiler or no runtime for {target}")
    bundle = make(tmp_path / "bundle")
    for graph in bundle.manifest.graphs:
        row = bench.measure(bundle, graph.spec.name, rounds=2, runs=20)
        assert row.subject == f"bundle {graph.spec.name}"
        # Of the same size; how close is for the benchmark to say, on a machine that is calm.
        assert 0.1 < row.runner_ns / row.bare_ns < 10


def test_the_table_holds_the_runner_against_the_better_loop():
    row = bench.Overhead(
        "demo encoder", "ort 1", runner_ns=1_015_000, bare_ns=1_010_000, again_ns=10**6
    )
    assert row.overhead == pytest.approx(0.015)
    assert row.noise == pytest.approx(0.01)
    text = bench.table([row], 15, 60)
    assert "| demo encoder | ort 1 | 1.0000 | 1.0150 | +1.50% | 1.00% | kept |" in text
    assert "least of 15 medians of 60 calls" in text


@pytest.mark.parametrize(
    ("runner_ns", "again_ns", "status", "verdict"),
    [
        (1_019_000, 10**6, 0, "kept"),
        (1_030_000, 10**6, 1, "missed"),
        (1_000_000, 1_030_000, 1, "too noisy to tell"),
    ],
)
def test_the_goal_is_kept_or_not_or_nobody_can_tell(
    monkeypatch, tmp_path, runner_ns, again_ns, status, verdict
):
    row = bench.Overhead("g", "ort 1", runner_ns, 10**6, again_ns)
    monkeypatch.setattr(bench, "measure", lambda *words: row)
    tiny_onnx(tmp_path / "b")
    assert bench.main([str(tmp_path / "b"), "--write", str(tmp_path / "out.md")]) == status
    assert f"| {verdict} |" in (tmp_path / "out.md").read_text()


def test_what_is_no_bundle_is_one_line(tmp_path, capsys):
    assert bench.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("bench: error: ")


def test_a_program_that_fails_is_an_error(tmp_path):
    (tmp_path / "runner").write_text("#!/bin/sh\necho no good >&2\nexit 3\n")
    (tmp_path / "runner").chmod(0o755)
    with pytest.raises(RunnerError, match="no good"):
        bench._run(["./runner"], tmp_path)
