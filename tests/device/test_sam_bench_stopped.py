"""`sam-bench` that is stopped from outside while a simulated phone works for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from profiles.journal import folder_of
from tests.device.android_kit import assert_tidy, look_at

MEASURE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from android_harness import modes
from android_harness.adb.program import find_adb
from android_harness.adb.connection import Connection
from android_harness.devices.android import AndroidDevice
from profiles import cli, kinds
from tests.device.android_kit import ScriptWay
modes._UNDO = "sleep 0.8\\n" + modes._UNDO  # so that a second signal comes in the middle of it
way = ScriptWay(Path({folder!r}), text="#!/system/bin/sh\\nexec sleep 1000\\n")
connection = Connection(find_adb(), {serial!r})
kinds.find = lambda name: AndroidDevice(connection, name, find_way=lambda *asked: way)
method = ["--device", "android:x", "--no-check", "--cores", "all", "--fixed-performance"]
sys.exit(cli.main([{bundle!r}, "--store", {store!r}, "--quiet", *method]))
"""


@pytest.fixture
def running(phone, adb_environment, monkeypatch, tmp_path, tiny_folder):
    """A process that measures; its runner is on the phone and would not end."""
    look_at(adb_environment, monkeypatch)
    code = MEASURE.format(
        root=str(Path(__file__).parents[2]),
        folder=str(tmp_path),
        serial=phone.serial,
        bundle=str(tiny_folder),
        store=str(tmp_path / "p.jsonl"),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 40
    while not any("sleep 1000" in line for line in phone.processes()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("signals", "status", "word"),
    [
        ((signal.SIGTERM,), 143, "terminated"),
        # as `timeout` sends it: to the process, and at once to its group
        ((signal.SIGTERM, signal.SIGTERM), 143, "terminated"),
        # as CI does: first Ctrl-C, then SIGTERM while the phone is put back
        ((signal.SIGINT, 0.5, signal.SIGTERM), 143, "terminated"),
        ((signal.SIGINT,), 130, "interrupted"),
    ],
    ids=["SIGTERM", "timeout", "CI", "Ctrl-C"],
)
def test_a_signal_puts_everything_back(running, phone, tmp_path, signals, status, word):
    assert phone.state("fixed_performance") == "1\n"
    for one in signals:
        if isinstance(one, float):
            time.sleep(one)
        else:
            os.killpg(running.pid, one)
    out, said = running.communicate(timeout=40)
    assert running.returncode == status
    assert out == ""
    [line] = said.splitlines()
    assert line.startswith(f"sam-bench: {word}; finished repeats are kept")
    assert_tidy(phone)
    assert not (tmp_path / "p.jsonl").exists()
    assert not folder_of(tmp_path / "p.jsonl").exists()
