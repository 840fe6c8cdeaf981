"""adb.py against programs that only pretend to be adb: what they say is what real ones said."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from android_harness.adb import program as module
from android_harness.adb.program import Adb, AdbAnswer, find_adb
from android_harness.adb.rows import AdbRow
from android_harness.errors import (
    AdbTimeoutError,
    NoAdbError,
    OfflineError,
    ServerVersionError,
    UnauthorizedError,
)
from exporter.errors import DeviceError, RequestError
from runtimes.remote.errors import UnusableError


def program(folder: Path, text: str, name: str = "adb") -> Path:
    """A shell script that is called as adb is."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """An environment without any adb."""
    for name in (module.VARIABLE, "ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    return tmp_path


def test_adb_is_found_where_it_was_asked_for_first(bare, monkeypatch):
    places = ["asked", "variable", "sdk/platform-tools", "path", "packages/adbutils/binaries"]
    asked, variable, sdk, path, packaged = (program(bare / place, "true") for place in places)
    (bare / "packages/adbutils/__init__.py").touch()
    assert find_adb().program == packaged
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_adb().program == path
    monkeypatch.setenv("ANDROID_HOME", str(bare / "sdk"))
    assert find_adb().program == sdk
    monkeypatch.setenv(module.VARIABLE, str(variable))
    assert find_adb().program == variable
    assert find_adb(str(asked)).program == asked


def test_an_sdk_without_adb_is_passed_over(bare, monkeypatch):
    monkeypatch.setenv("ANDROID_HOME", str(bare / "empty"))
    monkeypatch.setenv("ANDROID_SDK_ROOT", str(bare / "sdk"))
    sdk = program(bare / "sdk/platform-tools", "true")
    assert find_adb().program == sdk


def test_no_adb_says_how_to_get_one(bare):
    with pytest.raises(NoAdbError, match=r"platform-tools.*SAM_EXPORT_ADB") as caught:
        find_adb()
    assert isinstance(caught.value, RequestError)


def test_an_adb_that_was_asked_for_and_is_none_is_not_replaced(bare, monkeypatch):
    monkeypatch.setenv("PATH", str(program(bare / "path", "true").parent))
    with pytest.raises(NoAdbError, match="/no/adb is not a program"):
        find_adb("/no/adb")


CONNECTING = """
echo "$@" >> {folder}/calls
case "$*" in
  "devices -l") echo "List of devices attached"; {listed};;
  "connect "*) if [ -f {folder}/fresh ]; then {fresh}; else echo "already connected to $2"; fi;;
  "disconnect "*) touch {folder}/fresh; echo "disconnected $2";;
  *get-state) if [ -f {folder}/up ]; then echo device; else echo "error: {state}" >&2; exit 1; fi;;
esac
"""


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_an_offline_device_is_disconnected_and_connected_once(tmp_path):
    text = CONNECTING.format(
        folder=tmp_path,
        listed='echo "10.0.0.5:5555 offline"',
        fresh=f'touch {tmp_path}/up; echo "connected to $2"',
        state="device offline",
    )
    assert Adb(program(tmp_path, text)).choose("10.0.0.5:5555") == AdbRow("10.0.0.5:5555", "device")
    connecting = [call for call in calls(tmp_path) if "connect" in call]
    assert connecting == [
        "connect 10.0.0.5:5555",
        "disconnect 10.0.0.5:5555",
        "connect 10.0.0.5:5555",
    ]


def test_a_connect_that_fails_with_exit_code_0_is_seen(tmp_path):
    refused = "failed to connect to '10.0.0.5:5555': Connection refused"
    text = CONNECTING.format(
        folder=tmp_path, listed=":", fresh=f'echo "{refused}"', state="device not found"
    )
    with pytest.raises(OfflineError, match=r"cannot be reached .*Connection refused"):
        Adb(program(tmp_path, text)).choose("10.0.0.5:5555")


def test_a_connect_that_is_not_allowed_is_not_tried_again(tmp_path):
    text = CONNECTING.format(folder=tmp_path, listed=":", fresh=":", state="device unauthorized.")
    with pytest.raises(UnauthorizedError, match="allow USB debugging"):
        Adb(program(tmp_path, text)).choose("10.0.0.5:5555")
    assert "disconnect 10.0.0.5:5555" not in calls(tmp_path)


def test_a_call_has_a_deadline_and_what_was_said_before_it(tmp_path):
    adb = Adb(program(tmp_path, "echo half of it; exec sleep 60"))
    start = time.monotonic()
    with pytest.raises(AdbTimeoutError, match=r"adb shell x did not end in 0.5 s.*half of it"):
        adb.run("-s", "A", "shell", "x", deadline=0.5)
    assert time.monotonic() - start < 10


def test_an_adb_that_writes_without_end_is_ended(tmp_path):
    adb = Adb(program(tmp_path, "yes"))
    with pytest.raises(UnusableError, match=r"adb devices -l` writes without end, so it was ended"):
        adb.rows()


def test_an_adb_that_is_named_from_here_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(program(tmp_path, "echo hello").parent)
    assert find_adb("./adb").run("devices").out == "hello\n"


def test_an_adb_that_cannot_be_started(tmp_path):
    path = tmp_path / "adb"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    with pytest.raises(NoAdbError, match="cannot be started: Exec format error"):
        Adb(path).run("devices")


MISMATCH = "adb server version (32) doesn't match this client (41); killing..."


def test_a_server_of_another_version_that_cannot_be_replaced(tmp_path):
    text = f"""echo "{MISMATCH}" >&2
echo "ADB server didn't ACK" >&2
echo "adb: failed to check server version: cannot connect to daemon" >&2; exit 1"""
    with pytest.raises(
        ServerVersionError, match=r"version 32 runs here.*version 41.*SAM_EXPORT_ADB"
    ):
        Adb(program(tmp_path, text)).rows()


def test_a_server_of_another_version_that_was_replaced_is_told(tmp_path, caplog):
    text = f'echo "{MISMATCH}" >&2; echo "* daemon started successfully" >&2; echo "A device"'
    with caplog.at_level(logging.WARNING):
        assert [row.serial for row in Adb(program(tmp_path, text)).rows()] == ["A"]
    assert "the adb server of version 32 was replaced" in caplog.text


def test_an_adb_that_fails_to_list(tmp_path):
    adb = Adb(program(tmp_path, 'echo "error: cannot bind to tcp:5037" >&2; exit 1'))
    with pytest.raises(DeviceError, match="adb devices failed: error: cannot bind"):
        adb.rows()


def test_every_call_is_traced(tmp_path, caplog):
    adb = Adb(program(tmp_path, 'echo "no such thing" >&2; exit 3'))
    with caplog.at_level(logging.DEBUG, "sam_export.adb"):
        assert adb.run("shell", "a b").code == 3
    assert "adb shell 'a b' -> 3 in" in caplog.text
    assert "no such thing" in caplog.text


def test_standard_input_is_not_ours_to_lose(tmp_path):
    adb = Adb(program(tmp_path, "wc -c"))
    reading, writing = os.pipe()
    os.write(writing, b"typed by the user")
    os.close(writing)
    saved = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert adb.run("shell").out.strip() == "0"
        assert os.read(0, 100) == b"typed by the user"
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reading)


def test_odd_bytes_are_kept_readable(tmp_path):
    adb = Adb(program(tmp_path, r"printf 'a\377b\r\nc'"))
    assert adb.run("shell").out == "a�b\nc"


def test_the_last_line_is_what_a_message_shows():
    assert AdbAnswer(1, "out\n", "first\n  last  \n\n").last == "last"
    assert AdbAnswer(1, "out\n", "").last == "out"
    assert AdbAnswer(7, "", "").last == "exit status 7"
    copied = "adb: error: failed to copy 'a' to 'b': No space left on device\na: 0 files pushed.\n"
    assert AdbAnswer(1, "", copied).last.startswith("error: failed to copy")
