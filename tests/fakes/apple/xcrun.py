"""A fake `xcrun`: devicectl, xcdevice and simctl of a `World`, in the recorded formats."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.fakes.apple.world import FakeDevice, World, finish, launch, stop

CORE, OPEN, REASON = (
    "com.apple.dt.CoreDeviceError",
    "FBSOpenApplicationServiceErrorDomain",
    "FBSOpenApplicationErrorDomain",
)
RUNNER = "org.samexport.runner"


class Refused(Exception):
    """A chain of (domain, code, text), the outermost first."""

    def __init__(self, *chain: tuple[str, int, str]) -> None:
        super().__init__(chain)
        self.chain = chain


def main(words: list[str]) -> int:
    """Run one call."""
    world = World.here()
    world.note(["xcrun", *words])
    tool, *rest = words
    if tool == "devicectl":
        return devicectl(world, rest)
    if tool == "xcdevice":
        sys.stdout.write(json.dumps([_old(d) for d in world.devices() if d.kind == "old"]) + "\n")
        return 0
    if tool == "simctl":
        from tests.fakes.apple import simctl

        return simctl.main(world, rest)
    said = f'unable to find utility "{tool}", not a developer tool or in PATH'
    sys.stderr.write(f"xcrun: error: {said}\n")
    return 72


# ------------------------------------------------------------------------------------- devicectl


def devicectl(world: World, words: list[str]) -> int:
    """`devicectl WORDS --json-output FILE`."""
    at = words.index("--json-output")
    output = Path(words[at + 1])
    rest = words[:at] + words[at + 2 :]
    info: dict[str, Any] = {
        "arguments": ["devicectl", *words],
        "commandType": "devicectl." + ".".join(w for w in rest[:3] if not w.startswith("-")),
        "jsonVersion": 2,
        "version": "443.18",
    }
    try:
        result = listing(world) if rest[:2] == ["list", "devices"] else on_device(world, rest[1:])
    except Refused as refused:
        info["outcome"] = "failed"
        output.write_text(json.dumps({"error": _error(list(refused.chain)), "info": info}))
        sys.stderr.write(f"ERROR: {refused.chain[0][2]}" + "\n")
        return 1
    output.write_text(json.dumps({"info": {**info, "outcome": "success"}, "result": result}))
    return 0


def listing(world: World) -> dict[str, Any]:
    """Phones alone, as this version lists them."""
    return {"devices": [_details(d, asked=False) for d in world.devices() if d.kind == "phone"]}


def on_device(world: World, words: list[str]) -> Any:
    """`device VERB NOUN --device ID ...`."""
    verb, noun, _, identifier, *rest = words
    found = [d for d in world.devices() if identifier in (d.udid, _identifier(d))]
    if not found or not found[0].connected:
        raise Refused((CORE, 1000, f"The specified device was not found. (Name: {identifier})"))
    device = found[0]
    return CALLS[verb, noun](world, device, rest)


def _info_details(world: World, device: FakeDevice, rest: list[str]) -> Any:
    return _details(device, asked=True)


def _info_lock(world: World, device: FakeDevice, rest: list[str]) -> Any:
    return {"deviceIdentifier": _identifier(device), "passcodeRequired": device.locked}


def _info_apps(world: World, device: FakeDevice, rest: list[str]) -> Any:
    return {"apps": [{"bundleIdentifier": RUNNER, "version": "1.0"}] if device.installed else []}


def _info_files(world: World, device: FakeDevice, rest: list[str]) -> Any:
    assert rest == ["--domain-type", "systemCrashLogs"]
    return {
        "files": [{"name": p.name} for p in sorted((world.home(device.udid) / "logs").iterdir())]
    }


def _info_processes(world: World, device: FakeDevice, rest: list[str]) -> Any:
    path = "file:///private/var/containers/Bundle/Application/A/SamRunner.app/SamRunner"
    running = world.running(device.udid)
    return {"runningProcesses": [{"processIdentifier": n, "executable": path} for n in running]}


def _install(world: World, device: FakeDevice, rest: list[str]) -> Any:
    if device.full:
        raise Refused(
            (CORE, 3002, "Failed to install the app on the device."),
            ("NSPOSIXErrorDomain", 28, "No space left on device"),
        )
    if not device.accepts:
        raise Refused(
            (CORE, 3002, "Failed to install the app on the device."),
            (
                "MIInstallerErrorDomain",
                13,
                "A valid provisioning profile for this executable was not found.",
            ),
        )
    world.change(device.udid, installed=True)
    return {"installedApplications": [{"bundleID": RUNNER}]}


def _copy(world: World, device: FakeDevice, rest: list[str], *, back: bool) -> Any:
    asked = dict(zip(rest[::2], rest[1::2], strict=True))
    home = world.home(device.udid)
    logs = asked["--domain-type"] == "systemCrashLogs"
    if not logs:
        assert asked["--domain-identifier"] == RUNNER
    top = home / "logs" if logs else home
    if back:
        source = top / asked["--source"]
        if not source.exists():
            raise Refused(
                (CORE, 7000, "The file could not be read."),
                ("NSCocoaErrorDomain", 260, "no such file"),
            )
        shutil.copyfile(source, asked["--destination"])
        return {}
    target = top / asked["--destination"]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(asked["--source"], target)
    return {}


def _launch(world: World, device: FakeDevice, rest: list[str]) -> Any:
    assert rest[:2] == ["--console", "--terminate-existing"]
    bundle, *words = rest[2:]
    failed = (CORE, 10002, "The application failed to launch.")
    if not device.installed or bundle != RUNNER:
        raise Refused(failed, ("NSOSStatusErrorDomain", -10814, f"{bundle} is not installed."))
    if device.locked:
        raise Refused(
            failed, (OPEN, 1, "The request was denied"), (REASON, 7, "could not be, unlocked")
        )
    if not device.trusted:
        raise Refused(
            failed, (OPEN, 1, "The request was denied"), (REASON, 3, "not been explicitly trusted")
        )
    launch(world, device, words).wait()
    if not next(d for d in world.devices() if d.udid == device.udid).connected:
        raise Refused(
            (CORE, 4, "The connection was lost."), ("com.apple.dt.RemotePairingError", 4, "lost")
        )
    finish(world, device, words)
    return {"process": {"processIdentifier": 1234}}


def _terminate(world: World, device: FakeDevice, rest: list[str]) -> Any:
    stop(world, device.udid)
    return {}


CALLS = {
    ("info", "details"): _info_details,
    ("info", "lockState"): _info_lock,
    ("info", "apps"): _info_apps,
    ("info", "files"): _info_files,
    ("info", "processes"): _info_processes,
    ("install", "app"): _install,
    ("copy", "to"): lambda *a: _copy(*a, back=False),
    ("copy", "from"): lambda *a: _copy(*a, back=True),
    ("process", "launch"): _launch,
    ("process", "terminate"): _terminate,
}


def _identifier(device: FakeDevice) -> str:
    return f"7E7C4C2A-0000-4000-8000-{device.udid[-12:]}"


def _details(device: FakeDevice, *, asked: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {"name": device.name}
    if device.connected:
        properties |= {
            "osVersionNumber": device.version,
            "osBuildUpdate": device.build,
            "bootState": "booted",
        }
    if asked:
        properties |= {
            "developerModeStatus": "enabled" if device.developer_mode else "disabled",
            "ddiServicesAvailable": device.image,
        }
    return {
        "identifier": _identifier(device),
        "connectionProperties": {
            "pairingState": "paired" if device.paired else "unpaired",
            "tunnelState": ("connected" if asked else "disconnected")
            if device.connected
            else "unavailable",
            "transportType": "wired",
        },
        "deviceProperties": properties,
        "hardwareProperties": {
            "cpuType": {"name": "arm64e"},
            "deviceType": "iPhone",
            "marketingName": "iPhone 14 Pro",
            "platform": "iOS",
            "productType": "iPhone15,3",
            "reality": "physical",
            "udid": device.udid,
        },
    }


def _error(chain: list[tuple[str, int, str]]) -> dict[str, Any]:
    (domain, code, text), *rest = chain
    info: dict[str, Any] = {"NSLocalizedDescription": {"string": text}}
    if rest:
        info["NSUnderlyingError"] = {"error": _error(rest)}
    return {"code": code, "domain": domain, "userInfo": info}


def _old(device: FakeDevice) -> dict[str, Any]:
    return {
        "simulator": False,
        "operatingSystemVersion": f"{device.version} ({device.build})",
        "available": True,
        "platform": "com.apple.platform.iphoneos",
        "modelCode": "iPhone10,6",
        "modelName": "iPhone X",
        "identifier": device.udid,
        "architecture": "arm64",
        "name": device.name,
        "interface": "usb",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
