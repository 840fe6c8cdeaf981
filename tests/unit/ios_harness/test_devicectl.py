"""What devicectl's JSON says, read by field, in both of its shapes; its errors as ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.errors import DeviceLostError
from exporter.programs import Said
from ios_harness import devicectl
from ios_harness.errors import (
    DeveloperModeError,
    LockedError,
    NoDiskImageError,
    NoRunnerError,
    NoXcodeError,
    ToolError,
    UnpairedError,
    UntrustedError,
)
from ios_harness.program import Program
from runtimes.remote.errors import NoSpaceError

SAMPLES = Path(__file__).parent / "samples"
CORE = "com.apple.dt.CoreDeviceError"
PAIRING = "com.apple.dt.RemotePairingError"
V5 = {
    "identifier": "ID-5",
    "properties": {
        "connection": {"pairingState": "paired", "state": "connected", "transportType": "wired"},
        "hardware": {
            "marketingName": "iPhone 18 Pro",
            "platform": "iOS",
            "productType": "iPhone19,1",
            "reality": "physical",
            "udid": "UDID-5",
        },
        "software": {"osVersionNumber": {"components": [27, 0], "stringValue": "27.0"}},
        "state": {"developerModeStatus": {"disabled": {}}, "name": "My iPhone"},
    },
}


def xcrun_that_writes(tmp_path, data, code=0) -> Program:
    """An xcrun whose devicectl writes `data` (text) to its --json-output."""
    (tmp_path / "answer").write_text(data)
    program = tmp_path / "xcrun"
    program.write_text(
        '#!/bin/sh\nwhile [ "$1" != --json-output ]; do shift; done\n'
        f'cat {tmp_path}/answer > "$2"\necho "said by devicectl" >&2\nexit {code}\n'
    )
    program.chmod(0o755)
    return Program((str(program),))


def test_the_recorded_list(tmp_path):
    text = (SAMPLES / "devicectl-list-devices.json").read_text()
    phone, offline = devicectl.rows(xcrun_that_writes(tmp_path, text))
    assert phone.identity.udid == "00008110-001234567890001E"
    assert phone.identity.model == "iPhone 14 Pro"
    assert (phone.identity.system, phone.identity.build) == ("iOS 26.5", "23F77")
    assert (phone.developer_mode, phone.image) == ("enabled", True)
    assert devicectl.problem_of(phone) == ""
    assert "it is not connected" in devicectl.problem_of(offline)


def test_version_5_and_the_simulators_that_it_lists(tmp_path):
    simulated = {
        "identifier": "S",
        "properties": {"hardware": {"reality": "simulated", "udid": "S"}},
    }
    watch = {"identifier": "W", "properties": {"hardware": {"platform": "watchOS", "udid": "W"}}}
    listed = {"info": {"outcome": "success"}, "result": {"devices": [V5, simulated, watch]}}
    (row,) = devicectl.rows(xcrun_that_writes(tmp_path, json.dumps(listed)))
    assert (row.identity.udid, row.identity.name) == ("UDID-5", "My iPhone")
    assert (row.identity.model, row.identity.system) == ("iPhone 18 Pro", "iOS 27.0")
    assert devicectl.problem_of(row) == devicectl.DEVELOPER


def test_an_unpaired_device_and_an_idle_one():
    unpaired = devicectl.row_of({"connectionProperties": {"pairingState": "unpaired"}})
    assert devicectl.problem_of(unpaired) == devicectl.UNPAIRED
    idle = {"pairingState": "paired", "tunnelState": "disconnected"}
    assert devicectl.problem_of(devicectl.row_of({"connectionProperties": idle})) == ""


def failed(*chain) -> str:
    """devicectl's JSON for a chain of (domain, code, text)."""
    error = None
    for domain, code, text in reversed(chain):
        info = {"NSLocalizedDescription": {"string": text}}
        if error is not None:
            info["NSUnderlyingError"] = {"error": error}
        error = {"domain": domain, "code": code, "userInfo": info}
    return json.dumps({"info": {"outcome": "failed"}, "error": error})


LAUNCH = (CORE, 10002, "The application failed to launch.")


@pytest.mark.parametrize(
    ("chain", "kind", "words"),
    [
        ([LAUNCH, ("FBSOpenApplicationErrorDomain", 7, "denied")], LockedError, "unlock it"),
        ([(CORE, 4000, "The device is locked.")], LockedError, "unlock it"),
        ([LAUNCH, ("FBSOpenApplicationErrorDomain", 3, "denied")], UntrustedError, "tap Trust"),
        ([LAUNCH, ("NSOSStatusErrorDomain", -10814, "x")], NoRunnerError, "--runner FILE"),
        ([(CORE, 12040, "no support")], NoDiskImageError, "Devices and Simulators"),
        ([(CORE, 9, "Developer Mode is disabled.")], DeveloperModeError, "Privacy & Security"),
        ([(CORE, 9, "The device is not paired.")], UnpairedError, "tap Trust"),
        ([(CORE, 3002, "failed"), ("NSPOSIXErrorDomain", 28, "x")], NoSpaceError, "free some"),
        ([(CORE, 1000, "The specified device was not found.")], DeviceLostError, "went away"),
        ([(CORE, 4, "x"), (PAIRING, 4, "tunnel")], DeviceLostError, "tunnel"),
        ([(CORE, 5, "Blocked by something new")], ToolError, "Blocked by something new"),
    ],
)  # fmt: skip
def test_an_error_is_told_by_domain_and_code(tmp_path, chain, kind, words):
    xcrun = xcrun_that_writes(tmp_path, failed(*chain), code=1)
    with pytest.raises(kind, match=words) as raised:
        devicectl.call(xcrun, "device", "process", "launch", "--device", "X")
    assert type(raised.value) is kind


def test_a_missing_file_is_told_apart(tmp_path):
    text = failed((CORE, 7000, "could not be read"), ("NSCocoaErrorDomain", 260, "no such file"))
    with pytest.raises(devicectl.MissingFileError):
        devicectl.call(xcrun_that_writes(tmp_path, text, 1), "device", "copy", "from")


@pytest.mark.parametrize("text", ["", "Usage: devicectl", '{"info": {}}', "[1]"])
def test_an_answer_that_is_none_is_an_error(tmp_path, text):
    with pytest.raises(ToolError):
        devicectl.call(xcrun_that_writes(tmp_path, text), "list", "devices")


def test_an_xcode_that_is_too_old(tmp_path):
    program = tmp_path / "xcrun"
    program.write_text(
        "#!/bin/sh\necho 'xcrun: error: unable to find utility \"devicectl\"' >&2\nexit 72\n"
    )
    program.chmod(0o755)
    with pytest.raises(NoXcodeError, match="Xcode 15 or later is needed for devicectl"):
        devicectl.call(Program((str(program),)), "list", "devices")


def test_said_is_what_a_program_said():
    assert (
        devicectl._without_answer(Said(1, "", "\x1b[31mlast\x1b[0m\n"), ("list",))
        .args[0]
        .endswith("last")
    )
