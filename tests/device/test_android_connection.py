"""Commands and copies over the real adb client, against a simulated phone."""

from __future__ import annotations

import threading
import time

import pytest

from android_harness.adb.program import find_adb
from android_harness.errors import (
    AdbTimeoutError,
    CommandError,
    OfflineError,
    ReadOnlyError,
    UnauthorizedError,
)
from exporter.errors import DeviceError, DeviceLostError
from runtimes.remote.errors import AmbiguousError, NoSpaceError, UnknownDeviceError
from tests.device.android_kit import connection_to, look_at
from tests.fakes import adbd


@pytest.fixture
def connection(phone, adb_environment, monkeypatch):
    look_at(adb_environment, monkeypatch)
    return connection_to(phone)


@pytest.mark.parametrize("code", [0, 1, 5, 124, 137, 255])
def test_exit_codes_and_both_streams(connection, code):
    answer = connection.shell(f"printf out; printf err >&2; exit {code}")
    assert (answer.code, answer.out, answer.err.strip()) == (code, "out", "err")


def test_output_keeps_its_line_ends_and_odd_names(connection):
    answer = connection.shell("printf 'one\n\ntwo\n'; echo \"quote ' dollar \\$x\"")
    assert answer.out == "one\n\ntwo\nquote ' dollar $x\n"


def test_exit_codes_of_a_device_that_sends_none(connection, phone, adb_server, monkeypatch):
    """Before Android 7: no shell_v2, so adb itself always exits with 0."""
    monkeypatch.setattr(adbd, "FEATURES", ("cmd", "stat_v2"))
    adb_server.disconnect(phone)
    adb_server.connect(phone)
    assert adb_server.adb("-s", phone.serial, "shell", "exit 5").returncode == 0
    assert connection.shell("echo out; exit 5").code == 5
    assert connection.shell("true").code == 0
    with pytest.raises(CommandError, match="it broke"):
        connection.check("echo it broke >&2; exit 3")


def test_parts_are_answered_in_one_trip(connection, phone):
    phone.commands.clear()
    answers = connection.ask({"one": "echo 1; exit 9", "two": "no-such-program", "three": "echo 3"})
    assert answers == {"one": "1", "two": "", "three": "3"}
    assert len(phone.commands) == 1


def test_a_command_that_fails_says_its_last_words(connection):
    with pytest.raises(CommandError, match=r"No such file or directory"):
        connection.check("cat /no/such/file")


def test_files_there_and_back(connection, tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "a b").write_bytes(content)
    (tmp_path / "link").symlink_to("a b")
    connection.push([tmp_path / "a b", tmp_path / "link"], "/data/local/tmp")
    assert connection.shell("ls -l /data/local/tmp/link | cut -c 1").out.strip() == "-"
    (tmp_path / "back").mkdir()
    connection.pull(["/data/local/tmp/a b", "/data/local/tmp/link"], tmp_path / "back", 1)
    assert [p.read_bytes() for p in sorted((tmp_path / "back").iterdir())] == [content, content]


def test_a_full_device(connection, faults, tmp_path, phone):
    faults.storage_bytes = 4096
    (tmp_path / "big").write_bytes(b"x" * 100_000)
    with pytest.raises(NoSpaceError, match=f"{phone.serial} is full .*No space left on device"):
        connection.push([tmp_path / "big"], "/data/local/tmp")


def test_a_folder_that_cannot_be_written(connection, phone, faults, tmp_path):
    faults.read_only = ("/data/local/tmp/x",)
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        connection.push([tmp_path / "f"], "/data/local/tmp/x")
    with pytest.raises(ReadOnlyError, match="cannot be written"):
        connection.push([tmp_path / "f"], "/system")
    if phone.sandbox.name != "plain":  # that one lets commands write where the tests may
        with pytest.raises(ReadOnlyError, match="Read-only file system"):
            connection.check("echo x > /system/x")


def test_the_cable_is_pulled_during_a_push(connection, faults, tmp_path, phone):
    faults.drop_after_bytes = 1 << 20
    (tmp_path / "big").write_bytes(b"x" * (8 << 20))
    with pytest.raises(DeviceLostError, match=f"{phone.serial} went away during `adb push"):
        connection.push([tmp_path / "big"], "/data/local/tmp")


def test_the_cable_is_pulled_during_a_command(connection, faults, phone):
    """Adb exits with 0 or 1 then, with half an answer: neither is taken for one."""
    faults.drop_on = "half"
    faults.drop_after_seconds = 0.3
    with pytest.raises(DeviceLostError, match="went away during `adb shell"):
        connection.shell("echo half; sleep 30; echo whole")


def test_a_lost_device_comes_back(connection, phone):
    phone.unplug()
    assert not connection.reconnect(0.5)
    threading.Timer(1.0, phone.plug).start()
    start = time.monotonic()
    assert connection.reconnect(15)
    assert time.monotonic() - start > 0.5
    assert connection.check("echo here") == "here\n"


def test_a_restarted_device_is_offline_and_connected_again(connection, phone):
    phone.restart()
    row = find_adb().choose(phone.serial)
    assert (row.state, connection.check("echo up")) == ("device", "up\n")


def test_a_silent_device_is_offline(connection, phone, faults, adb_server):
    faults.silent = True
    adb_server.disconnect(phone)
    with pytest.raises(OfflineError, match="cannot be reached"):
        find_adb().choose(phone.serial)


def test_an_unauthorized_device(connection, phone, faults, adb_server):
    faults.unauthorized = True
    adb_server.disconnect(phone)
    with pytest.raises(UnauthorizedError, match="allow USB debugging"):
        find_adb().choose(phone.serial)
    with pytest.raises(UnauthorizedError, match="allow USB debugging"):
        find_adb().choose("")


def test_two_devices_and_one_that_is_not_there(connection, phone, second_phone):
    with pytest.raises(AmbiguousError) as caught:
        find_adb().choose("")
    assert f"android:{phone.serial} (" in str(caught.value)
    assert f"android:{second_phone.serial} (" in str(caught.value)
    assert find_adb().choose(second_phone.serial).serial == second_phone.serial
    with pytest.raises(UnknownDeviceError, match="no device 'R5CT' is attached"):
        find_adb().choose("R5CT")


def test_a_network_device_is_connected_when_asked_for(
    phone, adb_server, adb_environment, monkeypatch
):
    look_at(adb_environment, monkeypatch)
    adb_server.disconnect(phone)
    assert find_adb().choose(phone.serial).state == "device"
    with pytest.raises(OfflineError, match="cannot be reached"):
        find_adb().choose("127.0.0.1:1")


def test_a_command_that_hangs(connection, faults, phone):
    faults.hang = "measure"
    with pytest.raises(AdbTimeoutError, match=r"adb shell .* did not end in 1 s"):
        connection.shell("exec measure", 1)
    assert isinstance(AdbTimeoutError("x"), DeviceError)
