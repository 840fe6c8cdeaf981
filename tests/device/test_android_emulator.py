"""AVDs: an emulator program that starts a simulated phone, or fails as real ones do."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.devices import emulator
from exporter.errors import DeviceError, RequestError
from runtimes.device import Method
from runtimes.remote.errors import UnknownDeviceError
from tests.device.android_kit import look_at

PROGRAM = """#!{python}
import json, os, signal, sys, time
folder = {folder!r}
if "-list-avds" in sys.argv:
    print("INFO    | Storing crashdata in: /tmp")
    print("Pixel_API_34")
    print("Other_API_30")
    sys.exit(0)
with open(folder + "/started.json", "w") as told:
    json.dump({{"argv": sys.argv[1:], "pid": os.getpid()}}, told)
{then}
"""
STAYS = 'print("booting", flush=True)\ntime.sleep(1000)'
DIES = 'print("x86_64 emulation currently needs hardware acceleration!", flush=True)\nsys.exit(1)'
# It answers for the serial that the emulator was started with; the rest goes to the real adb.
ADB = """#!{python}
import json, os, subprocess, sys
folder, real, phone = {folder!r}, {real!r}, {serial!r}
arguments = sys.argv[1:]
try:
    with open(folder + "/started.json") as told:
        started = json.load(told)
    name = "emulator-" + started["argv"][started["argv"].index("-port") + 1]
    os.kill(started["pid"], 0)
except (OSError, ValueError):
    name = None
with open(folder + "/adb-calls", "a") as calls:
    calls.write(" ".join(arguments) + "\\n")
if arguments[2:] == ["emu", "kill"]:
    os.kill(started["pid"], 15)
    sys.exit(0)
if arguments == ["devices", "-l"]:
    print("List of devices attached")
    if name: print(name, "device model:sdk_gphone64")
    sys.exit(0)
if arguments[:1] == ["-s"]:
    if arguments[1] != name:
        sys.exit("error: device '%s' not found" % arguments[1])
    arguments[1] = phone
sys.exit(subprocess.run([real, *arguments]).returncode)
"""


@pytest.fixture
def sdk(phone, adb_environment, adb_server, monkeypatch, tmp_path):
    """An SDK whose emulator runs until it is stopped; adb shows it as one."""
    look_at(adb_environment, monkeypatch)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    write(tmp_path / "emulator/emulator", PROGRAM, folder=str(tmp_path), then=STAYS)
    real = next(
        str(Path(folder) / "adb")
        for folder in os.environ["PATH"].split(":")
        if (Path(folder) / "adb").exists()
    )
    names = {"folder": str(tmp_path), "real": real, "serial": phone.serial}
    write(tmp_path / "platform-tools/adb", ADB, **names)
    phone.set_property("ro.boot.qemu.avd_name", "Pixel_API_34")
    phone.set_property("sys.boot_completed", "1")
    return tmp_path


def write(path, text, **values):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.format(python=sys.executable, **values))
    path.chmod(0o755)


def started(sdk):
    return json.loads((sdk / "started.json").read_text())


def runs(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False


def test_it_is_started_waited_for_used_and_stopped(sdk, phone):
    device = emulator.find("Pixel_API_34")
    assert not (sdk / "started.json").exists()
    with device.open(replace(Method(), cores="all")) as bench:
        told = started(sdk)
        assert runs(told["pid"])
        assert bench.condition().thermal_status.level == 0
    assert not runs(told["pid"])
    port = told["argv"][-1]
    assert told["argv"] == [
        *("-avd", "Pixel_API_34", "-no-window", "-no-audio", "-no-boot-anim", "-no-snapshot"),
        *("-gpu", "swiftshader_indirect", "-port", port),
    ]
    assert int(port) in emulator.PORTS
    assert f"-s emulator-{port} emu kill" in (sdk / "adb-calls").read_text()
    assert phone.changes().keys() <= {"prop"}


def test_facts_say_that_it_is_no_phone(sdk, phone):
    phone.set_property("ro.sam_export.simulated", "0")
    device = emulator.find("Pixel_API_34")
    known = device.facts()
    assert (known.device, known.device_class) == ("emulator:Pixel_API_34", "emulator")
    pid = started(sdk)["pid"]
    assert runs(pid)  # not twice: `open` comes next
    device.stop()
    assert not runs(pid)
    assert device.facts() == known
    assert started(sdk)["pid"] == pid


def test_one_that_runs_already_is_used_and_left_running(sdk, phone):
    first = emulator.find("Pixel_API_34")
    first.facts()
    pid = started(sdk)["pid"]
    with emulator.find("Pixel_API_34").open(replace(Method(), cores="all")):
        pass
    assert runs(pid)
    assert started(sdk)["pid"] == pid
    assert emulator.clean("Pixel_API_34").endswith(" MB removed")
    first.stop()


def test_one_that_dies_at_once_says_its_last_words(sdk):
    write(sdk / "emulator/emulator", PROGRAM, folder=str(sdk), then=DIES)
    (sdk / "platform-tools/adb").write_text("#!/bin/sh\nsleep 0.5\n")  # knows of no device
    device = emulator.find("Pixel_API_34")
    with pytest.raises(DeviceError, match=r"exit code 1.*needs hardware acceleration!"):
        device.facts()
    assert device._started is None


def test_one_that_never_boots_is_stopped(sdk, phone, caplog):
    phone.set_property("sys.boot_completed", "0")
    device = emulator.find("Pixel_API_34")
    device.boot_seconds = 1.5
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"has not booted in 1.5 s.*last words: booting"):
        device.facts()
    assert time.monotonic() - begun < 30
    assert not runs(started(sdk)["pid"])


def test_an_avd_that_is_not_there(sdk):
    with pytest.raises(UnknownDeviceError, match="'X'; choose from emulator:Pixel_API_34, emu"):
        emulator.find("X")
    with pytest.raises(UnknownDeviceError, match="no AVD was chosen; choose from"):
        emulator.find("")
    with pytest.raises(UnknownDeviceError, match="is not running"):
        emulator.clean("Other_API_30")


def test_avds_are_listed_without_being_started(sdk):
    rows = emulator.listed()
    assert [row.device for row in rows] == ["emulator:Pixel_API_34", "emulator:Other_API_30"]
    assert {row.problem for row in rows} == {""}
    assert not (sdk / "started.json").exists()


def test_no_emulator_program(sdk, monkeypatch):
    monkeypatch.delenv("ANDROID_HOME")
    with pytest.raises(RequestError, match="no `emulator` program here"):
        emulator.find("Pixel_API_34")
    assert emulator.listed() == ()
