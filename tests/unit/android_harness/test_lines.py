"""What the harness says to a user who measures on several devices: each line names its device."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from android_harness.adb.connection import Connection
from android_harness.adb.program import Adb
from android_harness.state import thermal
from exporter.errors import DeviceError, DeviceLostError
from runtimes.device import Condition
from runtimes.remote import cooling


def connection(folder: Path, said: str, state: str) -> Connection:
    """To a device that is in `state` whenever it is asked, over an adb that fails."""
    program = folder / "adb"
    state_or_failure = f"case $3 in get-state) echo {state}; exit;; esac; echo 'adb: {said}' >&2"
    program.write_text(f"#!/bin/sh\n{state_or_failure}; exit 1\n")
    program.chmod(0o755)
    return Connection(Adb(program), "R5CT1")


@pytest.fixture
def file(tmp_path):
    (tmp_path / "model").write_bytes(b"m")
    return tmp_path / "model"


def refusal(connection, file):
    with pytest.raises(DeviceError) as caught:
        connection.push([file], "/data/x")
    return caught.value


def test_a_device_that_went_away_is_told_of_in_one_way(tmp_path, file):
    """By adb's words where it is back already, and by its state whatever adb said."""
    said = "error: closed"
    back = refusal(connection(tmp_path, said, "device"), file)
    gone = refusal(connection(tmp_path, said, "offline"), file)
    assert isinstance(back, DeviceLostError)
    assert isinstance(gone, DeviceLostError)
    assert str(back) == str(gone)
    assert str(gone) == (
        "R5CT1 went away during `adb push model /data/x` (error: closed): check its cable, then "
        "start again"
    )


def test_a_device_that_is_there_did_not_go_away(tmp_path, file):
    other = refusal(connection(tmp_path, "error: something else", "device"), file)
    assert type(other) is DeviceError
    gone = refusal(connection(tmp_path, "error: something else", "offline"), file)
    assert isinstance(gone, DeviceLostError)


def test_waiting_for_a_cool_device_names_it(caplog):
    caplog.set_level(logging.INFO, "sam_export.device")
    cool = Condition(at="", thermal_status=thermal.status_of(0))
    seen, start = iter([Condition(at="", thermal_status=thermal.status_of(2)), cool]), cool
    cooling.cool(
        lambda: next(seen), start, 60, device="android:R5CT1", sleep=lambda _: None, clock=lambda: 0
    )
    assert caplog.messages == [
        "android:R5CT1: too hot (thermal status moderate): waiting, 60 s at most"
    ]
