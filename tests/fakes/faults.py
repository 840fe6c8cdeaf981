"""What can go wrong with a phone, as data that a test sets while the phone runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

FOREVER = "sleep 100000"
KILLED = "sh -c 'kill -9 $$'"
GARBAGE = b"\xff\x00\xfe#garbled#"


@dataclass
class Faults:
    """Every fault; the defaults are a phone on which all goes well.

    A pattern is a regular expression looked for in the command line. `hang` and `kill` replace
    what they match and leave the rest of the line alone, so the device's own `timeout`, `cd` and
    `exec` around a runner stay in force.

    Attributes:
        unauthorized: the user refuses the host's key. Holds from the next connection on.
        silent: takes connections and never greets: `offline`. From the next connection on.
        drop_after_bytes: the cable is pulled once so many bytes of a push have arrived.
        drop_on: the cable is pulled while a matching command runs ...
        drop_after_seconds: ... this long after it began.
        storage_bytes: size of /data. `df` tells it; a push beyond it fails as a full device does.
            The shell's own writes are not stopped.
        kill: a matching command is killed: exit 137. (toybox 0.8.9's `timeout` makes 127 of that
            now and then.)
        kill_after_seconds: how long it runs before. Zero: it does not run at all.
        hang: a matching command never ends.
        garble: the second half of each piece of a matching command's stdout is replaced.
        thermal: what `dumpsys thermalservice` prints, call by call; the last repeats.
        clock: seconds by which `date` is wrong, call by call; the last repeats.
        read_only: paths that refuse a push, beside all outside of /data/local/tmp.
        no_fixed_performance: the phone does not support that mode.
    """

    unauthorized: bool = False
    silent: bool = False
    drop_after_bytes: int | None = None
    drop_on: str | None = None
    drop_after_seconds: float = 0.0
    storage_bytes: int | None = None
    kill: str | None = None
    kill_after_seconds: float = 0.0
    hang: str | None = None
    garble: str | None = None
    thermal: tuple[str, ...] = ()
    clock: tuple[int, ...] = ()
    read_only: tuple[str, ...] = ()
    no_fixed_performance: bool = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in {field.name for field in fields(self)}:
            raise AttributeError(f"no fault is called {name}")
        object.__setattr__(self, name, value)
        self._notify()

    def on_change(self, told: Callable[[], None]) -> None:
        """Calls `told` now and after each change."""
        object.__setattr__(self, "_told", told)
        told()

    def _notify(self) -> None:
        told = self.__dict__.get("_told")
        if told is not None:
            told()

    def command(self, line: str) -> str:
        """The line that is run where a host asked for `line`."""
        if self.hang is not None:
            line = re.sub(self.hang, lambda _: FOREVER, line, flags=re.DOTALL)
        if self.kill is not None and not self.kill_after_seconds:
            line = re.sub(self.kill, lambda _: KILLED, line, flags=re.DOTALL)
        return line

    def kill_delay(self, line: str) -> float | None:
        """Seconds after which what `kill` matches is killed in a running `line`."""
        return self.kill_after_seconds if _found(self.kill, line) else None

    def doomed(self, process: str) -> bool:
        """Whether a process of this command line is to be killed: the runner, not its shell."""
        return _found(self.kill, process) and not re.match(r"\S*sh -c ", process)

    def stdout(self, line: str) -> Callable[[bytes], bytes]:
        """What happens to the standard output of `line`, piece by piece."""
        if _found(self.garble, line):
            return lambda data: data[: len(data) // 2] + GARBAGE
        return lambda data: data

    def drop_delay(self, line: str) -> float | None:
        """Seconds after which the cable is pulled while `line` runs; None for never."""
        return self.drop_after_seconds if _found(self.drop_on, line) else None


def _found(pattern: str | None, text: str) -> bool:
    return pattern is not None and re.search(pattern, text) is not None
