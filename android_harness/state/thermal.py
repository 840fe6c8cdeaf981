"""Heat as Android's thermal service tells it (`dumpsys thermalservice`)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from runtimes.device import Temperature, ThermalStatus

SCRIPT = "dumpsys -t 5 thermalservice"
STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's words for its levels 0..6."""
_HAL = "Current temperatures from HAL:"
_SENSOR = re.compile(r"Temperature\{mValue=([^,]+), mType=(-?\d+), mName=([^,}]*), mStatus=(\d+)")
_KINDS = {0: "cpu", 1: "gpu", 2: "battery", 3: "skin", 4: "usb", 5: "power amplifier", 9: "npu"}
_BELIEVABLE = (-40.0, 150.0)
"""Degrees that a phone's sensor can read; anything else means a broken one."""


@dataclass(frozen=True)
class Thermal:
    """The facts that the thermal service gives.

    Attributes:
        status: None if the device has no thermal HAL.
        temperatures: as measured now; the service's cached ones can be 30 degrees off.
        overridden: someone set the status by hand, so it says nothing.
    """

    status: ThermalStatus | None = None
    temperatures: tuple[Temperature, ...] = ()
    overridden: bool = False


def parse(text: str) -> Thermal:
    """Parse the dump, or whatever came instead of it."""
    if "HAL Ready: true" not in text:
        return Thermal(overridden="IsStatusOverride: true" in text)
    status = re.search(r"^\s*Thermal Status: (\d)", text, re.MULTILINE)
    return Thermal(
        status=status_of(int(status[1])) if status else None,
        temperatures=tuple(_sensors(text)),
        overridden="IsStatusOverride: true" in text,
    )


def status_of(level: int) -> ThermalStatus | None:
    """Name a level in Android's word; None for one that it does not define."""
    return ThermalStatus(level, STATUS[level]) if level < len(STATUS) else None


def _sensors(text: str) -> list[Temperature]:
    found = []
    for line in text.partition(_HAL)[2].splitlines()[1:]:
        match = _SENSOR.search(line)
        if match is None:
            break  # the next block
        try:
            celsius = float(match[1])
        except ValueError:
            continue
        if math.isfinite(celsius) and _BELIEVABLE[0] <= celsius <= _BELIEVABLE[1]:
            kind = _KINDS.get(int(match[2]), f"type {match[2]}")
            found.append(Temperature(match[3].strip(), kind, celsius))
    return found
