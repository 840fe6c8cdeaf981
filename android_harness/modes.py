"""What a run changes on a device (screen, performance mode), and how it is undone whatever happens.

The undoing is written to the device as a script before anything is changed. A host that dies, or a
cable that is pulled for good, leaves the script there, and the next run or `clean` runs it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from android_harness.adb.connection import Connection
from android_harness.state.facts import WORK
from android_harness.workspace import KILL
from exporter.errors import DeviceError, DeviceLostError, RequestError
from exporter.signals import uninterrupted
from runtimes.remote.errors import UnusableError

LOG = logging.getLogger("sam_export.device")
BACK_SECONDS = 8.0
"""How long a lost device is waited for, to undo what was changed on it."""
_RESTORE = f"{WORK}/restore.sh"
_OR = "> /dev/null 2>&1 || echo"
_FIXED = "cmd power set-fixed-performance-mode-enabled"
# Each line of the script says what it could not undo; `null` is how settings tells "not set".
_START = f"""
mkdir -p {WORK} || exit 1
old=$(settings get global stay_on_while_plugged_in)
wake=$(dumpsys -t 5 power | grep -m 1 mWakefulness=)
if [ "$old" = null ]; then back='settings delete global stay_on_while_plugged_in'
else back="settings put global stay_on_while_plugged_in $old"; fi
echo "$back {_OR} 'the screen stays on while charging'" > {_RESTORE}.new || exit 1
case "$wake" in *Asleep|*Dozing)
  echo "input keyevent KEYCODE_SLEEP {_OR} 'the screen is on'" >> {_RESTORE}.new;; esac
mv {_RESTORE}.new {_RESTORE} || exit 1
svc power stayon usb
input keyevent KEYCODE_WAKEUP
"""
# A device that has no such mode needs no way back from it.
_FIX = f"""
{_FIXED} true || exit 1
echo "{_FIXED} false {_OR} 'fixed-performance mode is on'" >> {_RESTORE}
"""
_UNDO = f"""
{KILL}
rm -rf {WORK}/run-* {WORK}/incoming
[ -f {_RESTORE} ] || exit 0
left=$(sh {_RESTORE} 2>/dev/null)
if [ -z "$left" ]; then rm -f {_RESTORE}; else echo "$left"; fi
"""


def undo(connection: Connection) -> str:
    """End our processes, remove the run's folders, undo every change.

    Returns:
        What could not be put back, in words; empty if all is as before.
    """
    return ", ".join(connection.check(_UNDO, deadline=30).split("\n")).strip(", ")


@contextmanager
def change_modes(connection: Connection, *, fixed_performance: bool) -> Iterator[None]:
    """Keep the screen on and the performance mode as wished, until the block ends.

    Raises:
        RequestError: the device has no fixed-performance mode.
        DeviceLostError: it went away; the message says so if nothing could be put back.
    """
    _warn(connection, undo(connection))  # what an earlier run could not
    try:
        connection.check(_START)
        if fixed_performance:
            _fix(connection)
        yield
    except DeviceLostError as error:
        left = _undo_lost(connection)
        if left:
            raise DeviceLostError(f"{error}; {left}") from error
        raise
    except BaseException:
        _undo_or_say(connection)
        raise
    else:
        _undo_or_say(connection)


def _fix(connection: Connection) -> None:
    answer = connection.shell(_FIX)
    if answer.code or "Failed" in answer.out:
        raise RequestError(
            f"{connection.serial} has no fixed-performance mode ({answer.last}): leave it out"
        )


def _undo_lost(connection: Connection) -> str:
    """Wait a little for the device; returns a warning if it does not come back."""
    with uninterrupted():
        try:
            if connection.reconnect(BACK_SECONDS):
                return undo(connection)
        except (UnusableError, DeviceError) as error:
            LOG.debug("not undone: %s", error)
    return (
        f"it did not come back within {BACK_SECONDS:g} s, so its screen settings are not put back "
        "and files of the run are left: the next run, or a clean, does both"
    )


def _undo_or_say(connection: Connection) -> None:
    with uninterrupted():
        try:
            _warn(connection, undo(connection))
        except (UnusableError, DeviceError) as error:
            LOG.warning(
                "%s: not everything could be put back (%s); the next run, or a clean, does it",
                connection.serial,
                error,
            )


def _warn(connection: Connection, left: str) -> None:
    if left:
        LOG.warning("%s: could not be put back: %s", connection.serial, left)
