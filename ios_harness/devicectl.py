"""`xcrun devicectl`: its JSON, which is read by field, and its errors as ours."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import DeviceLostError, SamExportError
from exporter.printable import printable
from exporter.programs import Said
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
from ios_harness.program import (
    QUICK,
    Program,
    at,
    find_program,
    last_line,
    objects_at,
    plain,
    read_json,
    short,
    text_at,
)
from ios_harness.transports import NO_RUNNER, Identity
from runtimes.remote.errors import NoSpaceError

LOCKED = "it is locked: unlock it, and set Settings > Display & Brightness > Auto-Lock to Never"
DEVELOPER = (
    "developer mode is off: turn on Settings > Privacy & Security > Developer Mode, restart it"
)
UNPAIRED = "it does not trust this computer: connect its cable, unlock it and tap Trust"
MOUNT = (
    "its developer disk image is not mounted: open Xcode > Window > Devices and Simulators once "
    "with it connected and unlocked"
)
UNTRUSTED = (
    "it does not trust who signed the runner: on it, open Settings > General > VPN & Device "
    "Management, choose the developer and tap Trust"
)
_CORE = "com.apple.dt.CoreDeviceError"
_ERRORS: tuple[tuple[tuple[tuple[str, int], ...], str, type[SamExportError], str], ...] = (
    ((("FBSOpenApplicationErrorDomain", 7),), r"\b(un)?locked\b", LockedError, LOCKED),
    ((("FBSOpenApplicationErrorDomain", 3),), "explicitly trusted", UntrustedError, UNTRUSTED),
    ((("NSOSStatusErrorDomain", -10814),), "is not installed", NoRunnerError, NO_RUNNER),
    (((_CORE, 12040),), "developer disk image", NoDiskImageError, MOUNT),
    ((), "developer mode", DeveloperModeError, DEVELOPER),
    ((), "not paired|pairing .*refused", UnpairedError, UNPAIRED),
    (
        (("NSPOSIXErrorDomain", 28), ("NSCocoaErrorDomain", 640)),
        "enough (free |available )?(space|storage)",
        NoSpaceError,
        "the device is full: free some space on it",
    ),
)
"""Domains and codes, else words, of a cause -> our error and what to do."""
_MISSING = (("NSPOSIXErrorDomain", 2), ("NSCocoaErrorDomain", 260), ("NSCocoaErrorDomain", 4))
_LOST = ("com.apple.dt.RemotePairingError", "Network.NWError", "com.apple.Mercury.error.XPC")


@dataclass(frozen=True)
class Fault:
    """One error in devicectl's chain."""

    domain: str
    code: int
    text: str


@dataclass(frozen=True)
class Row:
    """A device of `devicectl list devices`, in either shape of its JSON.

    Attributes:
        reality: `physical`, or `simulated` (Xcode 27 lists simulators too).
        state: of the connection: `connected`, `disconnected` (it comes up when asked), or
            `unavailable`.
        developer_mode: `enabled`, `disabled`, or empty if it was not asked yet.
        image: whether the developer disk image is mounted; None if that is not told.
    """

    identity: Identity
    identifier: str
    platform: str
    reality: str
    pairing: str
    state: str
    developer_mode: str
    image: bool | None


def find_xcrun() -> Program:
    """Find `xcrun`. NoXcodeError without it."""
    found = find_program("xcrun")
    if found is None:
        raise NoXcodeError(
            "no xcrun here: it comes with Xcode, on macOS alone; on any system "
            "`--device pymobiledevice3` reaches a phone by cable"
        )
    return Program((str(found),))


def call(xcrun: Program, *words: str, deadline: float = QUICK) -> dict[str, Any]:
    """Run `devicectl WORDS` and return its `result`.

    Raises:
        SamExportError: the error that its JSON tells, as one of ours.
    """
    with tempfile.TemporaryDirectory(prefix="sam-export-") as folder:
        output = Path(folder) / "answer.json"
        # The file comes first: what follows an app's identifier are the app's own words.
        head = words[:3] if words[0] == "device" else words[:2]
        said = xcrun.run(
            "devicectl", *head, "--json-output", str(output), *words[len(head) :], deadline=deadline
        )
        text = output.read_text(encoding="utf-8") if output.is_file() else ""
    if not text:
        raise _without_answer(said, words)
    data = read_json(text, f"devicectl {short(words)}")
    if text_at(data, "info", "outcome") == "success" and isinstance(at(data, "result"), dict):
        return dict(data["result"])
    raise error_of(list(faults(data)), short(words))


def rows(xcrun: Program) -> tuple[Row, ...]:
    """List every phone and tablet that this Mac knows."""
    found = [row_of(device) for device in objects_at(call(xcrun, "list", "devices"), "devices")]
    return tuple(r for r in found if r.platform in ("", "iOS") and r.reality != "simulated")


def row_of(device: dict[str, Any]) -> Row:
    """Read a device: JSON version 5 (Xcode 27) has `properties`, earlier ones three objects."""

    def pick(new: tuple[str, ...], old: tuple[str, ...]) -> str:
        return text_at(device, "properties", *new) or text_at(device, *old)

    identifier = text_at(device, "identifier")
    marketing = pick(("hardware", "marketingName"), ("hardwareProperties", "marketingName"))
    product = pick(("hardware", "productType"), ("hardwareProperties", "productType"))
    version = pick(
        ("software", "osVersionNumber", "stringValue"), ("deviceProperties", "osVersionNumber")
    )
    identity = Identity(
        udid=pick(("hardware", "udid"), ("hardwareProperties", "udid")) or identifier,
        name=pick(("state", "name"), ("deviceProperties", "name")),
        model=marketing or product,
        system=f"iOS {version}" if version else "",
        build=pick(
            ("software", "osBuildUpdate", "stringValue"), ("deviceProperties", "osBuildUpdate")
        ),
        abi=text_at(device, "hardwareProperties", "cpuType", "name"),
    )
    image = at(device, "deviceProperties", "ddiServicesAvailable")
    return Row(
        identity=identity,
        identifier=identifier or identity.udid,
        platform=pick(("hardware", "platform"), ("hardwareProperties", "platform")),
        reality=pick(("hardware", "reality"), ("hardwareProperties", "reality")),
        pairing=pick(("connection", "pairingState"), ("connectionProperties", "pairingState")),
        state=pick(("connection", "state"), ("connectionProperties", "tunnelState")),
        developer_mode=_developer_mode(device),
        image=image if isinstance(image, bool) else None,
    )


def problem_of(row: Row) -> str:
    """Why a listed device cannot be used, and what to do; empty if it may be."""
    if row.pairing and row.pairing != "paired":
        return UNPAIRED
    if row.state == "unavailable":
        return "it is not connected: connect its cable, or bring it into the same Wi-Fi, unlocked"
    if row.developer_mode == "disabled":
        return DEVELOPER
    return ""


def faults(data: Any) -> Iterator[Fault]:
    """Walk the chain of errors from the outermost to its cause."""
    error = at(data, "error")
    while isinstance(error, dict):
        info = at(error, "userInfo")
        code = at(error, "code")
        texts = (
            text_at(info, name, "string") or text_at(info, name)
            for name in ("NSLocalizedDescription", "NSLocalizedFailureReason")
        )
        yield Fault(
            text_at(error, "domain"),
            code if isinstance(code, int) else 0,
            " ".join(filter(None, texts)),
        )
        error = at(info, "NSUnderlyingError", "error")


def error_of(chain: list[Fault], what: str) -> SamExportError:
    """Make our error of devicectl's: by domain and code, by its words only if it has no others."""
    codes = {(fault.domain, fault.code) for fault in chain}
    words = " ".join(fault.text for fault in chain)
    for known, pattern, kind, advice in _ERRORS:
        if codes & set(known) or (pattern and re.search(pattern, words, re.IGNORECASE)):
            return kind(advice)
    if codes & set(_MISSING):
        return MissingFileError(what)
    said = printable(chain[-1].text or chain[0].text, 300) if chain else "no reason told"
    if (_CORE, 1000) in codes or any(domain in _LOST for domain, _ in codes):
        return DeviceLostError(
            f"the device went away during `devicectl {what}` ({said}): check its cable, unlock it, "
            "then start again"
        )
    return ToolError(f"`devicectl {what}` failed: {said}")


class MissingFileError(ToolError):
    """A file that is not on the device."""


def _developer_mode(device: dict[str, Any]) -> str:
    """`enabled`, `disabled` or empty: a word, or in version 5 the one key of an object."""
    status = at(device, "properties", "state", "developerModeStatus")
    if isinstance(status, dict) and status:
        return str(next(iter(status)))
    return text_at(device, "deviceProperties", "developerModeStatus")


def _without_answer(said: Said, words: tuple[str, ...]) -> SamExportError:
    told = plain(said)
    if "unable to find utility" in told or said.code == 72:
        return NoXcodeError(
            "Xcode 15 or later is needed for devicectl: install it, then "
            "`sudo xcode-select -s /Applications/Xcode.app`"
        )
    if "license" in told.lower():
        return NoXcodeError("Xcode's licence is not agreed to: `sudo xcodebuild -license`")
    return ToolError(
        f"`devicectl {short(words)}` gave no answer: {last_line(said) or 'it is silent'}"
    )
