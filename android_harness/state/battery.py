"""The battery as Android tells it (`dumpsys battery`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

SCRIPT = "dumpsys -t 5 battery"
_CHARGING = 2
LOW = 20
"""Percent under which Android offers to save power, at the cost of speed."""


@dataclass(frozen=True)
class Battery:
    """None is what the dump does not say.

    Attributes:
        celsius: of the battery itself.
        stopped: its values are frozen or made up (`dumpsys battery set`).
    """

    percent: int | None = None
    charging: bool | None = None
    celsius: float | None = None
    stopped: bool = False


def parse(text: str) -> Battery:
    """Parse the dump up to its event log, which repeats older values under the same names."""
    state = text.partition("[EventLogBuffer]")[0]
    numbers = {k: int(v) for k, v in re.findall(r"^\s*(\w+): (-?\d+)\s*$", state, re.MULTILINE)}
    level, scale = numbers.get("level"), numbers.get("scale", 100)
    status, tenths = numbers.get("status"), numbers.get("temperature")
    return Battery(
        percent=None if level is None or scale <= 0 else round(100 * level / scale),
        charging=None if status is None else status == _CHARGING,
        celsius=None if tenths is None else tenths / 10,
        stopped="UPDATES STOPPED" in state,
    )
