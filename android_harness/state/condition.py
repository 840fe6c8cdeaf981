"""How a device is at one moment, in one trip."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from android_harness.state import battery, thermal, topology
from runtimes.device import Condition, Temperature
from runtimes.remote.errors import UnusableError

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


def parse(answers: Mapping[str, str]) -> Condition:
    """Parse the answers to PARTS; a missing or odd one becomes None."""
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
    """Say which radios are on; a quiet phone is in airplane mode without Wi-Fi."""
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
    """UnusableError if the thermal status is faked: a hot device would count as cool."""
    if OVERRIDDEN in condition.notes:
        raise UnusableError(
            f"{device}: {OVERRIDDEN}; undo it with `adb shell cmd thermalservice reset`"
        )
