"""A fake `simctl`: simulators of a `World`."""

from __future__ import annotations

import json
import sys

from tests.fakes.apple.world import World, finish, launch, stop

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
        print(
            json.dumps(
                {"devices": {RUNTIME: rows, "com.apple.CoreSimulator.SimRuntime.watchOS-26-5": []}}
            )
        )
        return 0
    udid = next(word for word in rest if word in simulators)
    device = simulators[udid]
    if verb in ("boot", "shutdown"):
        world.change(udid, booted=verb == "boot")
    elif verb == "get_app_container":
        if not device.installed:
            print("No such file or directory", file=sys.stderr)
            return 2
        print(world.home(udid))
    elif verb == "install":
        world.change(udid, installed=True)
    elif verb == "terminate":
        stop(world, udid)
    elif verb == "launch":
        words = rest[rest.index(udid) + 2 :]
        launch(world, device, words).wait()
        finish(world, device, words)
    elif verb != "bootstatus":
        print(f"Unrecognized subcommand: {verb}", file=sys.stderr)
        return 64
    return 0
