"""A fake `pymobiledevice3`: phones of a `World`; errors are the sentences of its exceptions."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from tests.fakes.apple.world import FakeDevice, World, finish, launch, stop

RUNNER = "org.samexport.runner"
LAUNCHED = "launched.json"


class Failed(Exception):
    """An exception's sentence."""


def main(words: list[str]) -> int:
    """Run one call."""
    world = World.here()
    world.note(["pymobiledevice3", *words])
    assert words[0] == "--no-color"
    rest = words[1:]
    try:
        if rest == ["usbmux", "list"]:
            sys.stdout.write(
                json.dumps([_short_info(d) for d in _phones(world) if d.connected]) + "\n"
            )
            return 0
        at = rest.index("--udid")
        sys.stdout.write(_on_device(world, rest[at + 1], rest[:at] + rest[at + 2 :]) + "\n")
    except Failed as failed:
        head = "2026-11-30 03:15:00 host pymobiledevice3.__main__[1] ERROR"
        sys.stderr.write(f"{head} {failed}\n")
        return 1
    return 0


def _phones(world: World) -> list[FakeDevice]:
    return [d for d in world.devices() if d.kind in ("phone", "old")]


def _on_device(world: World, udid: str, words: list[str]) -> str:
    device = next((d for d in _phones(world) if d.udid == udid and d.connected), None)
    if device is None:
        raise Failed("Device is not connected.")
    if not device.paired:
        raise Failed("Device is not paired.")
    name = next(key for key in CALLS if words[: len(key)] == list(key))
    return CALLS[name](world, device, words[len(name) :])


def _mode(world: World, device: FakeDevice, rest: list[str]) -> str:
    return json.dumps(device.developer_mode)


def _images(world: World, device: FakeDevice, rest: list[str]) -> str:
    return json.dumps([{"DiskImageType": "Personalized"}] if device.image else [], indent=4)


def _query(world: World, device: FakeDevice, rest: list[str]) -> str:
    return json.dumps({RUNNER: {"CFBundleName": "SamRunner"}} if device.installed else {})


def _install(world: World, device: FakeDevice, rest: list[str]) -> str:
    if device.full:
        raise Failed("There is not enough storage available to install the items.")
    if not device.accepts:
        raise Failed("{'Error': 'ApplicationVerificationFailed'}")
    world.change(device.udid, installed=True)
    return ""


def _push(world: World, device: FakeDevice, rest: list[str]) -> str:
    bundle, local, remote = rest
    assert bundle == RUNNER
    target = world.home(device.udid) / remote
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(local, target)
    return ""


def _pull(world: World, device: FakeDevice, rest: list[str]) -> str:
    _, remote, local = rest
    source = world.home(device.udid) / remote
    if not source.exists():
        raise Failed(f"AfcFileNotFoundError: OBJECT_NOT_FOUND: {remote}")
    shutil.copyfile(source, local)
    return ""


def _launch(world: World, device: FakeDevice, rest: list[str]) -> str:
    bundle, *words = shlex.split(rest[0])
    if not device.installed or bundle != RUNNER:
        raise Failed(f"{bundle} is not installed")
    if device.locked:
        raise Failed("Unable to launch because the device was not, or could not be, unlocked")
    if not device.trusted:
        raise Failed("its profile has not been explicitly trusted by the user")
    process = launch(world, device, words)
    process.wait()  # the answer is there at the first look, so that tests need not wait
    finish(world, device, words)
    return f"Process launched with pid {process.pid}"


def _pid(world: World, device: FakeDevice, rest: list[str]) -> str:
    return str((world.running(device.udid) or [0])[0])


def _kill(world: World, device: FakeDevice, rest: list[str]) -> str:
    stop(world, device.udid)
    return ""


def _crashes(world: World, device: FakeDevice, rest: list[str]) -> str:
    return "\n".join(f"/{p.name}" for p in sorted((world.home(device.udid) / "logs").iterdir()))


def _crash_pull(world: World, device: FakeDevice, rest: list[str]) -> str:
    folder, remote = rest
    shutil.copy(world.home(device.udid) / "logs" / remote.lstrip("/"), Path(folder))
    return ""


CALLS = {
    ("amfi", "developer-mode-status"): _mode,
    ("mounter", "list"): _images,
    ("apps", "query"): _query,
    ("apps", "install"): _install,
    ("apps", "push"): _push,
    ("apps", "pull"): _pull,
    ("developer", "dvt", "launch"): _launch,
    ("developer", "dvt", "process-id-for-bundle-id"): _pid,
    ("developer", "dvt", "kill"): _kill,
    ("crash", "ls"): _crashes,
    ("crash", "pull"): _crash_pull,
}


def _short_info(device: FakeDevice) -> dict[str, str]:
    return {
        "BuildVersion": device.build,
        "ConnectionType": "USB",
        "DeviceClass": "iPhone",
        "DeviceName": device.name,
        "Identifier": device.udid,
        "ProductType": "iPhone15,3",
        "ProductVersion": device.version,
        "UniqueDeviceID": device.udid,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
