"""How a device is at one moment, in one trip; and waiting until it is cool."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from android_harness.errors import UnusableError
from android_harness.state import battery, thermal, topology
from exporter.errors import TooHotError
from runtimes.device import THERMAL_STATUS, Condition, Temperature

LOG = logging.getLogger("sam_export.device")
PARTS = {
    "thermal": thermal.SCRIPT,
    "battery": battery.SCRIPT,
    "cores": topology.SCRIPT,
    "load": "cat /proc/loadavg",
    "power": "dumpsys -t 5 power | grep -m 1 mWakefulness=",
    "airplane": "settings get global airplane_mode_on",
    "wifi": "settings get global wifi_on",
    "saver": "settings get global low_power",
}
WARMER = 2.0
"""Degrees over the start at which a device still counts as cool: a sensor's own unrest."""
POLL = 5.0
"""Seconds between two looks while it cools: each look wakes the device a little."""


def parse(answers: Mapping[str, str]) -> Condition:
    """The answers to PARTS; what is missing or odd becomes None."""
    heat = thermal.parse(answers.get("thermal", ""))
    cell = battery.parse(answers.get("battery", ""))
    cores = topology.parse(answers.get("cores", ""))
    temperatures = heat.temperatures
    if cell.celsius is not None and not any(t.kind == "battery" for t in temperatures):
        temperatures = (*temperatures, Temperature("battery", "battery", cell.celsius))
    power = answers.get("power", "").rpartition("=")[2]
    return Condition(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        thermal_status=None if heat.overridden else heat.status,
        temperatures=temperatures,
        battery_percent=cell.percent,
        charging=cell.charging,
        frequencies_khz=cores.frequencies,
        load=_load(answers.get("load", "")),
        awake=power == "Awake" if power else None,
        notes=(*_heat_notes(heat, cores), *_power_notes(cell, answers), *_radio_notes(answers)),
    )


def _heat_notes(heat: thermal.Thermal, cores: topology.Topology) -> list[str]:
    notes = []
    if heat.overridden:
        notes.append(OVERRIDDEN)
    elif heat.status is None:
        notes.append("the device tells no thermal status")
    notes += [f"core {n} is held to {khz} kHz" for n, khz in sorted(cores.held.items())]
    return notes


OVERRIDDEN = "the thermal status is overridden by hand"


def _power_notes(cell: battery.Battery, answers: Mapping[str, str]) -> list[str]:
    notes = []
    if cell.stopped:
        notes.append("battery updates are stopped")
    if cell.percent is not None and cell.percent < battery.LOW:
        notes.append("the battery is low")
    if answers.get("saver") == "1":
        notes.append("battery saver is on")
    return notes


def _radio_notes(answers: Mapping[str, str]) -> list[str]:
    """A phone in airplane mode without Wi-Fi is quiet; what is not is said, not changed."""
    notes = []
    if answers.get("airplane") == "0":
        notes.append("airplane mode is off")
    # 1 on, 2 on in airplane mode, 3 off because of airplane mode.
    if answers.get("wifi") in ("1", "2"):
        notes.append("Wi-Fi is on")
    return notes


def _load(text: str) -> float | None:
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return None


def refuse_override(condition: Condition, device: str) -> None:
    """UnusableError where the thermal status is faked: a hot device would count as cool."""
    if OVERRIDDEN in condition.notes:
        raise UnusableError(
            f"{device}: {OVERRIDDEN}; undo it with `adb shell cmd thermalservice reset`"
        )


def warmth(condition: Condition) -> Temperature | None:
    """The sensor that tells how hot a device is for its owner: the hottest skin, or the battery.

    Those of a CPU follow its load within a second, so they say nothing of what lies ahead.
    """
    for kind in ("skin", "battery"):
        found = [t for t in condition.temperatures if t.kind == kind]
        if found:
            return max(found, key=lambda t: t.celsius)
    return None


def heat_excess(now: Condition, start: Condition) -> str:
    """What is too hot in `now`, in words; empty where it is as cool as at `start`."""
    problems = []
    if now.thermal_status:
        problems.append(f"thermal status {THERMAL_STATUS[now.thermal_status]}")
    first, last = warmth(start), warmth(now)
    comparable = first is not None and last is not None and first.kind == last.kind
    if first and last and comparable and last.celsius > first.celsius + WARMER:
        most = first.celsius + WARMER
        problems.append(f"{last.kind} {last.celsius:.1f} °C, over {most:.1f} °C")
    return ", ".join(problems)


def cool(
    look: Callable[[], Condition],
    start: Condition,
    limit: float,
    *,
    device: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Condition:
    """Look until the device is as cool as at `start` (status none, at most 2 degrees warmer).

    Args:
        look: the condition now.
        start: what to compare with.
        limit: seconds, at most.
        device: as a user names it, for the line that says what is waited for.
        sleep: waits that many seconds.
        clock: seconds; only differences count.

    Raises:
        TooHotError: it is still too hot after `limit`; names status and temperature.
    """
    begun = clock()
    while True:
        now = look()
        excess = heat_excess(now, start)
        if not excess:
            return now
        left = limit - (clock() - begun)
        if left <= 0:
            raise TooHotError(
                f"the device did not cool within {limit:g} s: {excess}; let it rest, take it out "
                "of its case or the sun, or allow more time"
            )
        LOG.info("%s: too hot (%s): waiting, %d s at most", device, excess, left)
        sleep(min(POLL, left))
