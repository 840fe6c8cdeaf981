"""Runs of the matrix: what is made again, what is kept, and how the child processes end."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.errors import RequestError
from exporter.variants import load_variant
from profiles.lab import resumable, steps
from profiles.lab.matrix import __main__ as matrix
from profiles.lab.matrix import jobs, measure, processes, sources
from profiles.lab.matrix.state import State
from tests.unit.lab.matrix_rows import DEMO, row

# ---------------------------------------------------------------------------------- state and runs


@pytest.fixture
def work(tmp_path, monkeypatch):
    """argv -> the work of a matrix whose keys are "now" and whose exports answer at once."""
    monkeypatch.setattr(sources, "key", lambda job, weights: f"now {weights}")
    monkeypatch.setattr(steps, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(matrix.MatrixRun, "measure", lambda self, job: row(job.name))

    def build(*argv):
        arguments = matrix._parser().parse_args([*argv, "--folder", str(tmp_path / "work")])
        return matrix.MatrixRun(arguments, lambda line: None)

    return build


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the child in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_running_export_too(tmp_path, number):
    (tmp_path / "mobile_sam.pt").write_bytes(b"other weights: no committed row is of them")
    work = tmp_path / "work"
    argv = ["--only", "mobile_sam", "--target", "onnx", "--precision", "fp32"]
    argv += ["--folder", str(work), "--checkpoints", str(tmp_path)]
    command = [sys.executable, "-m", "profiles.lab.matrix", *argv]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        waited = time.monotonic() + 60
        while not processes_of(work, "--step"):  # the child imports torch: there is time
            assert time.monotonic() < waited
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    word = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[number]
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == f"matrix: {word}; the finished exports are kept"
    assert processes_of(work, "--step") == []
    assert not (work / "rows").exists()
    assert list((work / "bundles").iterdir()) == []


def test_a_child_that_a_signal_finds_starting_is_ended(tmp_path, monkeypatch):
    started = []
    start = processes._start

    def interrupted(command, log):
        started.append(start(command, log))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(processes, "_start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ended("import time; time.sleep(60)", tmp_path)
    assert started[0].returncode == -signal.SIGKILL


def processes_of(folder, word):
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if word in words and any(w.startswith(str(folder)) for w in words):
                found.append(process.name)
    return found


def test_failed_and_skipped_rows_are_tried_again_on_request_only(work):
    one = work("--only", "demo", "--target", "onnx")
    first, second, *others = one.wanted
    for other in others:
        one.state.save(other, one._keys[other], row(other.name))
    one.state.save(first, one._keys[first], {"name": first.name, "error": "no memory"})
    one.state.save(second, one._keys[second], {"name": second.name, "skipped": "needed more"})
    assert one.pending() == []
    assert work("--only", "demo", "--target", "onnx", "--retry").pending() == [first, second]


def test_a_given_file_makes_the_filled_row_stale(work, tmp_path):
    work("--only", "mobile_sam").run(lambda: 0.0)
    (tmp_path / "weights").mkdir()
    given = ("--only", "mobile_sam", "--checkpoints", str(tmp_path / "weights"))
    assert work(*given).pending() == []
    (tmp_path / "weights" / "mobile_sam.pt").write_bytes(b"weights")
    assert work(*given).pending() == jobs.plan(["mobile_sam"])


def test_committed_rows_count_where_the_work_folder_has_none(tmp_path):
    committed = tmp_path / "matrix.json"
    committed.write_text(json.dumps({"rows": [{"name": DEMO.name, "key": "k", "seconds": 1}]}))
    state = State(tmp_path / "rows", committed)
    assert state.is_current(DEMO, "k")
    assert not state.is_current(DEMO, "other")
    state.save(DEMO, "other", {"name": DEMO.name, "seconds": 2})
    assert state.row(DEMO)["seconds"] == 2
    assert [p.name for p in (tmp_path / "rows").iterdir()] == [f"{DEMO.name}.json"]


def test_a_damaged_row_names_its_file(tmp_path):
    (tmp_path / f"{DEMO.name}.json").write_text("{")
    with pytest.raises(RequestError, match=rf"{DEMO.name}\.json is not a row .*: delete it"):
        State(tmp_path, tmp_path / "none.json").row(DEMO)


def test_two_files_are_both_needed(tmp_path):
    nanosam = load_variant("nanosam_resnet18")
    (tmp_path / nanosam.published.file).write_bytes(b"")
    assert measure.checkpoint_of(nanosam, tmp_path) == ()
    (tmp_path / nanosam.decoder.published.file).write_bytes(b"")
    assert len(measure.checkpoint_of(nanosam, tmp_path)) == 2
    assert measure.checkpoint_of(nanosam, None) == ()


def test_recordings_are_of_one_variant_and_its_weights(work, tmp_path):
    folder = work("--only", "demo")._recordings(DEMO)
    folder.mkdir(parents=True)
    assert work("--only", "mobile_sam")._recordings(DEMO) == folder
    assert folder.is_dir()
    (tmp_path / "demo.safetensors").write_bytes(b"weights")
    other = work("--checkpoints", str(tmp_path))._recordings(DEMO)
    assert other != folder
    assert not folder.exists()


# --------------------------------------------------------------------------------- child processes


def ended(code, tmp_path, limit_gb=8.0):
    return processes.run_within([sys.executable, "-c", code], tmp_path / "log", limit_gb)


def test_a_child_that_fails_leaves_its_last_words(tmp_path):
    assert ended("print('fine')", tmp_path).reason == ""
    assert ended("raise ValueError('no wobble')", tmp_path).reason == "ValueError: no wobble"
    assert "exit status 3" in ended("raise SystemExit(3)", tmp_path).reason
    assert "signal 9" in ended("import os; os.kill(os.getpid(), 9)", tmp_path).reason


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_a_child_that_takes_too_much_memory_is_stopped_with_its_own_children(tmp_path):
    greedy = "import time; held = bytearray(400_000_000); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {greedy!r}])"
    stopped = ended(code, tmp_path, limit_gb=0.2)
    assert stopped.stopped_gb > 0.2
    assert "needed more than 0.2 GB" in stopped.reason
    assert stopped.usage.wall_s < 30


def fake_children(monkeypatch, **ends):
    def run(command, log, limit_gb):
        step = command[command.index("--step") + 1]
        folder = Path(command[command.index("--folder") + 1])
        end = ends[step]
        if not end.reason:
            (folder / f"{step}.json").write_text(json.dumps(ANSWERS[step]))
        return end

    monkeypatch.setattr(resumable, "run_within", run)


USAGE = processes.Usage(2.0, 3.0, 0.5)
GOOD = processes.ProcessEnd(USAGE, "")
ANSWERS = {
    "export": {
        "weights": "filled",
        "seconds": 1.5,
        "reused_cpu_s": 0.5,
        "graphs": [{"spec": {"name": "g"}}],
    },
    "inspect": {"g": {"max_rank": 4}},
}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"export": GOOD, "inspect": GOOD}, {"seconds": 1.5, "cpu_s": 2.5, "peak_gb": 0.5}),
        ({"export": processes.ProcessEnd(USAGE, "it broke")}, {"error": "it broke", "cpu_s": 2.0}),
        (
            {"export": processes.ProcessEnd(USAGE, "needed more than 8.0 GB", 8.3)},
            {"skipped": "needed more than 8.0 GB: 8.3 GB were held when it was stopped"},
        ),
        (
            {"export": GOOD, "inspect": processes.ProcessEnd(USAGE, "no such file")},
            {"error": "exported, but not inspected: no such file", "seconds": 1.5},
        ),
    ],
)
def test_whatever_happens_is_a_row_and_the_bundle_goes(monkeypatch, tmp_path, ends, expected):
    monkeypatch.setattr(sources, "key", lambda job, weights: "now")
    fake_children(monkeypatch, **ends)
    arguments = matrix._parser().parse_args(["--only", "demo", "--folder", str(tmp_path)])
    row = matrix.MatrixRun(arguments, lambda line: None).measure(DEMO)
    assert expected.items() <= row.items()
    assert row["name"] == DEMO.name
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_process_is_not_charged_with_what_its_parent_holds(tmp_path):
    ballast = b"\x01" * 2**30
    command = [sys.executable, "-c", "import time; time.sleep(0.7)"]
    ended = processes.run_within(command, tmp_path / "log", 10.0)
    assert len(ballast) == 2**30
    assert 0.003 < ended.usage.peak_gb < 0.3
