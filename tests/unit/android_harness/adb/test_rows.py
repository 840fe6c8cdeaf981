"""The devices that adb lists: every one can be named, and the one that is meant is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from android_harness.adb.connection import Connection
from android_harness.adb.program import Adb
from android_harness.adb.rows import AdbRow, parse_rows
from android_harness.devices import android
from android_harness.errors import OfflineError, UnauthorizedError
from runtimes.remote.errors import AmbiguousError, UnknownDeviceError, UnusableError
from runtimes.remote.lock import lock_file

SAMPLES = Path(__file__).parent / "samples"
WIRELESS = "adb-14141FDF600081-QXjCrW (2)._adb-tls-connect._tcp"
TAIL = "product:shiba model:Pixel_8 device:shiba transport_id:1"
TWINS = (
    "0123456789ABCDEF device usb:1-1 product:a model:One device:a transport_id:3",
    "0123456789ABCDEF device usb:1-2 product:a model:Two device:a transport_id:4",
    "(no serial number) device product:a model:Three device:a transport_id:5",
)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


def test_rows_of_recorded_output():
    phone, emulator, refused, simulated = parse_rows((SAMPLES / "adb-devices-l.txt").read_text())
    assert phone == AdbRow(
        "ZY32LL2X8W",
        "device",
        {
            "usb": "1-1",
            "product": "rtwo_g",
            "model": "moto_g86_5G",
            "device": "rtwo",
            "transport_id": "1",
        },
    )
    assert (phone.problem, phone.over_network) == ("", False)
    assert emulator.problem.startswith("offline: plug it in again")
    assert refused.problem.startswith("unauthorized: unlock its screen")
    assert refused.over_network
    assert simulated.details["model"] == "Sim_Phone"


def test_rows_among_what_adb_says_besides():
    text = (
        "* daemon not running; starting now at tcp:5037\n* daemon started successfully\n"
        "adb server version (40) doesn't match this client (41); killing...\n"
        "List of devices attached\n"
        "0123456789ABCDEF   no permissions (user in plugdev group; are your udev rules wrong?); "
        "see [http://developer.android.com/tools/device.html] usb:1-2 transport_id:3\n"
        "adb-R5CT-x1._adb-tls-connect._tcp device product:a model:b device:c transport_id:4\n"
        "R5CT recovery usb:1-1\n\n"
    )
    locked, wireless, recovery = parse_rows(text)
    assert locked.problem.startswith("no permissions: this user may not")
    assert wireless.serial == "adb-R5CT-x1._adb-tls-connect._tcp"
    assert wireless.state == "device"
    assert recovery.problem.startswith("recovery: start Android on it")


def adb_that_lists(folder: Path, *rows: str) -> Adb:
    """A stand-in that lists these devices and writes down each call, a line an argument."""
    (folder / "rows").write_text("\n".join(("List of devices attached", *rows, "", "")))
    path = folder / "adb"
    path.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{folder}/asked'\n"
        f"case $1 in devices) cat '{folder}/rows';; *) echo device;; esac\n"
    )
    path.chmod(0o755)
    return Adb(path)


def test_the_only_device_needs_no_name(tmp_path):
    adb = adb_that_lists(tmp_path, "A device model:One", "B unauthorized")
    assert adb.choose("").serial == "A"
    assert adb.choose("A").serial == "A"


def test_two_devices_without_a_choice_are_listed(tmp_path):
    adb = adb_that_lists(tmp_path, "A device model:One", "B device model:Two", "C offline")
    with pytest.raises(AmbiguousError, match=r"android:A \(One\), android:B \(Two\), android:C"):
        adb.choose("")
    assert adb.choose("B").serial == "B"


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        ("A unauthorized", UnauthorizedError, "A is unauthorized: unlock its screen"),
        ("A authorizing", UnauthorizedError, "A is authorizing: unlock its screen"),
        ("A offline", OfflineError, "A is offline: plug it in again"),
        ("A no permissions; see [x]", UnusableError, "A is no permissions: this user"),
        ("A recovery", UnusableError, "A is recovery: start Android.*`adb -s A reboot`"),
        ("A sideload", UnusableError, "A is sideload: it waits for `adb sideload`: cancel"),
        ("A rescue", UnusableError, "A is rescue: start Android"),
        ("A connecting", UnusableError, "A is connecting: wait a moment"),
        ("A bootloader", UnusableError, "A is bootloader: .*`fastboot reboot`"),
        ("A detached", UnusableError, "A is detached: .*`adb -s A attach`"),
        ("A host", UnusableError, "A is host: it is a computer"),
        ("A asleep now usb:1-1 transport_id:4", UnusableError, "A is asleep now: start Android"),
    ],
)
@pytest.mark.parametrize("serial", ["A", ""])
def test_a_device_that_cannot_be_used_says_why(tmp_path, row, kind, words, serial):
    with pytest.raises(kind, match=words):
        adb_that_lists(tmp_path, row).choose(serial)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(
        UnknownDeviceError, match=r"no device 'B' is attached; choose from android:A"
    ):
        adb_that_lists(tmp_path, "A device").choose("B")
    with pytest.raises(UnknownDeviceError, match="no device is attached: plug one in"):
        adb_that_lists(tmp_path).choose("")


@pytest.mark.parametrize(
    "serial",
    [
        WIRELESS,
        "my own device",
        "device",
        "adb of mine",
        "offline device 2",
        "été-手机 ☎",
        "a'b\"c$d;e&f|g*",
        "--serial",
        "192.168.1.5:5555",
        "[fe80::1%eth0]:5555",
        "emulator-5554",
        "a" * 300,
    ],
)
@pytest.mark.parametrize("tail", [TAIL, "", "usb:336592896X product:a b model:c device:d e"])
def test_any_serial_is_read_named_and_handed_to_adb_whole(tmp_path, serial, tail):
    adb = adb_that_lists(tmp_path, f"{serial:<22} device {tail}".rstrip())
    for name in ("", serial):
        row = adb.choose(name)
        assert (row.serial, row.name, row.problem) == (serial, serial, "")
    assert Connection(adb, row.name).is_there()
    assert (tmp_path / "asked").read_text().split("\n")[:3] == ["-s", serial, "get-state"]


def test_what_adb_tells_of_a_device_may_hold_spaces():
    (row,) = parse_rows("A device usb:1-1 product:my thing model:My_Phone device:x transport_id:2")
    assert row.details == {
        "usb": "1-1",
        "product": "my thing",
        "model": "My_Phone",
        "device": "x",
        "transport_id": "2",
    }


def test_devices_that_share_a_serial_or_have_none_are_told_apart(tmp_path):
    adb = adb_that_lists(tmp_path, *TWINS)
    names = ["usb:1-1", "usb:1-2", "transport_id:5"]
    assert [row.name for row in adb.rows()] == names
    for name in names:
        assert adb.choose(name).name == name
    with pytest.raises(AmbiguousError, match=r"android:usb:1-1 \(One\), android:usb:1-2 \(Two\)"):
        adb.choose("0123456789ABCDEF")
    assert Connection(adb, "transport_id:5").is_there()
    assert (tmp_path / "asked").read_text().split() == ["-t", "5", "get-state"]


def test_of_two_with_one_serial_the_usable_one_is_meant(tmp_path):
    adb = adb_that_lists(tmp_path, TWINS[0], TWINS[1].replace(" device usb", " offline usb"))
    assert adb.choose("0123456789ABCDEF").name == "usb:1-1"


@pytest.mark.parametrize(
    "name",
    [
        *("R5CT1", "usb:1-1", "transport_id:1", "model:Pixel 8", "model:Pixel_8"),
        *("product:shiba", "device:shiba"),
    ],
)
def test_what_adb_takes_for_a_name_is_taken(tmp_path, name):
    adb = adb_that_lists(tmp_path, f"R5CT1 device usb:1-1 {TAIL}", "B device transport_id:2")
    assert adb.choose(name).serial == "R5CT1"


@pytest.mark.parametrize("name", ["10.0.0.5", "tcp:10.0.0.5", "tcp:10.0.0.5:5555"])
def test_an_address_needs_no_port(tmp_path, name):
    adb = adb_that_lists(tmp_path, "10.0.0.5:5555 device", "10.0.0.5:5556 device")
    assert adb.choose(name).serial == "10.0.0.5:5555"


def test_the_variable_of_adb_chooses(tmp_path, monkeypatch):
    adb = adb_that_lists(tmp_path, "A device", f"{WIRELESS} device {TAIL}")
    monkeypatch.setenv("ANDROID_SERIAL", WIRELESS)
    assert adb.choose("").serial == WIRELESS
    assert adb.choose("A").serial == "A"
    monkeypatch.setenv("ANDROID_SERIAL", "gone")
    with pytest.raises(UnknownDeviceError, match="no device 'gone', the one that ANDROID_SERIAL"):
        adb.choose("")


def test_a_name_that_would_turn_a_terminal_is_shown_spelt(tmp_path):
    adb = adb_that_lists(tmp_path, "A\x1b[2J device model:M\x1b[1m", "B device")
    with pytest.raises(AmbiguousError, match="choose from") as caught:
        adb.choose("")
    assert "\x1b" not in str(caught.value)
    assert r"A\x1b[2J" in str(caught.value)


def test_a_device_is_known_without_its_kind(tmp_path, monkeypatch):
    adb = adb_that_lists(tmp_path, f"{WIRELESS} device {TAIL}", "R5CT1 unauthorized")
    monkeypatch.setenv("SAM_EXPORT_ADB", str(adb.program))
    known = [WIRELESS, "R5CT1", "model:Pixel_8", "10.0.0.5:5555", "phone.local:5555", "[::1]:5555"]
    assert [name for name in known if not android.knows(name)] == []
    strangers = ["R5CT", "andriod:5555", "andriod:R5CT1", "", "usb:9-9"]
    assert [name for name in strangers if android.knows(name)] == []


def test_the_lock_of_a_device_has_a_name_of_its_own():
    names = [WIRELESS, WIRELESS.replace(" ", "_"), "a/b", "a_b", "x" * 300, "x" * 301, "R5CT1"]
    files = [lock_file(name) for name in names]
    assert len(set(files)) == len(names)
    assert {file.parent for file in files} == {files[0].parent}
    assert max(len(file.name) for file in files) < 200


def test_a_wireless_device_that_is_offline_is_left_to_adb(tmp_path):
    """Once disconnected by its name, adb would not find it again by itself."""
    adb = adb_that_lists(tmp_path, f"{WIRELESS} offline transport_id:2")
    with pytest.raises(
        OfflineError, match=r"offline: .*wireless debugging off and on, or run `adb recon"
    ):
        adb.choose(WIRELESS)
    assert (tmp_path / "asked").read_text().split() == ["devices", "-l"]
