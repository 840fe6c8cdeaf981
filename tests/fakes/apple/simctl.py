"""A fake `simctl`: simulators of a `World`."""

from __future__ import annotations

import json
import sys

from tests.fakes.apple.world import FakeDevice, World, finish, launch, stop

WATCHES = "com.apple.CoreSimulator.SimRuntime.watchOS-26-5"
RUNTIME = "com.apple.CoreSimulator.SimRuntime.iOS-26-3"


def main(world: World, words: list[str]) -> int:
    """Run one call."""
    verb, *rest = words
    simulators = {d.udid: d for d in world.devices() if d.kind == "simulator"}
    if verb == "list":
        rows = [
            {
                "udid": d.udid,
                "isAvailable": d.accepts,
                **({} if d.accepts else {"availabilityError": "runtime profile not found"}),
                "state": "Booted" if d.booted else "Shutdown",
                "name": d.name,
            }
            for d in simulators.values()
        ]
        sys.stdout.write(json.dumps({"devices": {RUNTIME: rows, WATCHES: []}}))
        return 0
    udid = next(word for word in rest if word in simulators)
    return on_simulator(world, simulators[udid], verb, rest)


def on_simulator(world: World, device: FakeDevice, verb: str, rest: list[str]) -> int:
    """`simctl VERB ... UDID ...`."""
    udid = device.udid
    if verb in ("boot", "shutdown"):
        world.change(udid, booted=verb == "boot")
    elif verb == "get_app_container":
        if not device.installed:
            sys.stderr.write("No such file or directory" + "\n")
            return 2
        sys.stdout.write(f"{world.home(udid)}\n")
    elif verb == "install":
        world.change(udid, installed=True)
    elif verb == "terminate":
        stop(world, udid)
    elif verb == "launch":
        words = rest[rest.index(udid) + 2 :]
        launch(world, device, words).wait()
        finish(world, device, words)
    elif verb != "bootstatus":
        sys.stderr.write(f"Unrecognized subcommand: {verb}" + "\n")
        return 64
    return 0
