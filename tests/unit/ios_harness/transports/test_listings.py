"""What `simctl`, `xcdevice` and `pymobiledevice3` list."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from exporter.errors import DeviceLostError
from exporter.programs import Said
from ios_harness import xcdevice
from ios_harness.errors import (
    DeveloperModeError,
    LockedError,
    NoDiskImageError,
    NoRunnerError,
    ToolError,
    UnpairedError,
    UntrustedError,
)
from ios_harness.program import Program
from ios_harness.transports import simulator, usbmux

SAMPLES = Path(__file__).parents[1] / "samples"


def program_that_says(tmp_path, text, code=0) -> Program:
    """A program that prints `text`."""
    (tmp_path / "said").write_text(text)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path / 'said'))}\nexit {code}\n")
    program.chmod(0o755)
    return Program((str(program),))


def test_the_recorded_simulators(tmp_path):
    text = (SAMPLES / "simctl-list-devices.json").read_text()
    booted, shut, broken = simulator.rows(program_that_says(tmp_path, text))
    assert (booted.identity.name, booted.state, booted.problem) == ("iPhone 17 Pro", "Booted", "")
    assert booted.identity.system == "iOS 26.3"
    assert shut.state == "Shutdown"
    assert "runtime profile not found" in broken.problem


@pytest.mark.parametrize("text", ["", "no JSON", "{"])
def test_a_list_that_is_none(tmp_path, text):
    with pytest.raises(ToolError, match="gave no JSON"):
        simulator.rows(program_that_says(tmp_path, text))


@pytest.mark.parametrize("text", ["[]", "{}", '{"devices": 3}', '{"devices": {"x.iOS-26-3": 3}}'])
def test_a_list_of_nothing(tmp_path, text):
    assert simulator.rows(program_that_says(tmp_path, text)) == ()


def test_phones_that_devicectl_does_not_reach(tmp_path):
    def row(version, **more):
        return {
            "simulator": False,
            "operatingSystemVersion": version,
            "platform": "com.apple.platform.iphoneos",
            "modelName": "iPhone X",
            "identifier": f"U-{version}",
            "name": "Old",
            **more,
        }

    listed = [
        row("16.7.8 (20H343)", error={"recoverySuggestion": "Unlock it."}),
        row("17.0 (21A329)"),
        row("16.0 (20A360)", simulator=True),
        row("16.0 (20A360)", platform="com.apple.platform.watchos"),
        row(None),
        3,
    ]
    ((identity, problem),) = xcdevice.old_phones(program_that_says(tmp_path, json.dumps(listed)))
    assert (identity.system, identity.build) == ("iOS 16.7.8", "20H343")
    assert "use --device pymobiledevice3:U-16.7.8 (20H343) (Unlock it.)" in problem


def test_a_phone_on_two_connections_is_one(tmp_path):
    row = {
        "UniqueDeviceID": "U1",
        "DeviceClass": "iPhone",
        "DeviceName": "Mine",
        "ProductType": "iPhone15,3",
        "ProductVersion": "26.5",
        "BuildVersion": "23F77",
    }
    watch = {**row, "UniqueDeviceID": "W1", "DeviceClass": "Watch"}
    listed = [{**row, "ConnectionType": "USB"}, {**row, "ConnectionType": "Network"}, watch]
    (identity,) = usbmux.rows(program_that_says(tmp_path, json.dumps(listed)))
    assert (identity.udid, identity.name, identity.system) == ("U1", "Mine", "iOS 26.5")


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("Developer Mode is disabled. You can try to enable it using: ...", DeveloperModeError),
        ("Device is not paired.", UnpairedError),
        ("The device does not trust this computer.", UnpairedError),
        ("Device is password protected. Please unlock and retry.", LockedError),
        ("profile has not been explicitly trusted by the user", UntrustedError),
        ("Could not find a DeveloperDiskImage for this device's iOS version.", NoDiskImageError),
        ("Device is not connected.", DeviceLostError),
        ("Connection was terminated abruptly.", DeviceLostError),
        ("org.samexport.runner is not installed", NoRunnerError),
        ("Something new", ToolError),
    ],
)
def test_a_sentence_of_an_exception_is_one_of_our_errors(sentence, kind):
    error = usbmux.error_of(Said(1, "", f"2026 host[1] \x1b[31mERROR\x1b[0m {sentence}\n"), "x")
    assert type(error) is kind
    assert "\x1b" not in str(error)
