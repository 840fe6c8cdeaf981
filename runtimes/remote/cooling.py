"""Waiting until a device is cool enough to measure again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from exporter.errors import TooHotError
from runtimes.device import Condition, Temperature

LOG = logging.getLogger("sam_export.device")
WARMER = 2.0
"""Degrees over the start at which a device still counts as cool: a sensor's own unrest."""
POLL = 5.0
"""Seconds between two looks while it cools: each look wakes the device a little."""


def warmth(condition: Condition) -> Temperature | None:
    """Choose the sensor nearest to what a hand feels: the hottest skin, or the battery.

    Those of a CPU follow its load within a second, so they say nothing of what lies ahead.
    """
    for kind in ("skin", "battery"):
        found = [t for t in condition.temperatures if t.kind == kind]
        if found:
            return max(found, key=lambda t: t.celsius)
    return None


def heat_excess(now: Condition, start: Condition) -> str:
    """Why `now` is too hot, in words; empty if it is as cool as at `start`."""
    problems = []
    if now.thermal_status and now.thermal_status.level:
        problems.append(f"thermal status {now.thermal_status.word}")
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
