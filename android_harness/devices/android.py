"""A device that adb knows: a phone or an emulator that runs, by cable or network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from android_harness import workspace
from android_harness.adb.connection import Connection
from android_harness.adb.program import VARIABLE, Adb, find_adb, use_adb
from android_harness.adb.rows import AdbRow, named
from android_harness.bench import AndroidBench, FindWay
from android_harness.modes import change_modes
from android_harness.state import condition, facts, topology
from android_harness.state.device_class import judge_row
from android_harness.ways import Supplies, delegates, find_way, way_kinds
from exporter.errors import RequestError, SamExportError
from runtimes.device import Bench, DeviceFacts, DeviceKind, KindOption, Listed, Method, Mode
from runtimes.remote.errors import UnusableError
from runtimes.remote.lock import locked

FIXED = Mode("fixed-performance", "Android's mode of steady clocks")
MODES = (FIXED,)
OPTIONS = (
    KindOption(
        "adb",
        "PATH",
        f"the adb program (default: ${VARIABLE}, the Android SDK's, the one on PATH)",
        use_adb,
    ),
)


@dataclass
class AndroidDevice:
    """One device. See `Device`.

    Attributes:
        connection: to it.
        name: as a user names it.
        supplies: the user's own files for the ways; the environment names them.
        find_way: chooses one of them for a bundle.

    What it is does not change, so that is asked once; whether there is room is asked each time.
    """

    connection: Connection
    name: str
    supplies: Supplies = field(default_factory=lambda: Supplies.of(os.environ))
    find_way: FindWay = find_way
    _facts: DeviceFacts | None = None

    def facts(self) -> DeviceFacts:
        """Read what the device is. UnusableError if nothing can be measured on it."""
        return self._facts or self._usable(self.connection.ask(facts.PARTS))

    def open(self, method: Method) -> AbstractContextManager[Bench]:
        """Make it ready: the screen on, the mode set, a folder of ours; all undone at the end.

        Raises:
            RequestError: cores it does not have, a mode it does not know, a faked thermal status.
            DeviceError: it is full, or went away.
        """
        return self._opened(method)

    def clean(self) -> int:
        """Remove everything of ours from it; the bytes that were freed."""
        with locked(self.connection.serial):
            return workspace.clear(self.connection)

    @contextmanager
    def _opened(self, method: Method) -> Iterator[Bench]:
        _check_method(method)
        with locked(self.connection.serial):
            asked = facts.PARTS if self._facts is None else facts.ROOM
            answers = self.connection.ask({**asked, **condition.PARTS})
            known = self._usable(answers)
            condition.refuse_override(condition.parse(answers), self.name)
            chosen = topology.parse(answers["cores"]).choose(method.cores, method.threads)
            with change_modes(self.connection, fixed_performance=FIXED.name in method.modes):
                yield AndroidBench(
                    self.connection, known, method, chosen, self.supplies, self.find_way
                )

    def _usable(self, answers: Mapping[str, str]) -> DeviceFacts:
        """Return the facts known before or answered now. UnusableError if it cannot be used now."""
        known = self._facts or facts.parse(answers, self.name, self.connection.serial)
        problem = facts.problem_of(known, answers)
        if problem:
            raise UnusableError(f"{self.name}: {problem}")
        self._facts = known
        return known


def _check_method(method: Method) -> None:
    if method.threads < 1 or method.runs < 1:
        raise RequestError("threads and runs are 1 or more")
    strangers = [name for name in method.modes if name != FIXED.name]
    if strangers:
        raise RequestError(f"an Android device has no mode --{strangers[0]}: leave it out")
    if method.deadline_seconds < 1:
        raise RequestError("the deadline of a process is 1 second or more")


def find(serial: str) -> AndroidDevice:
    """Find the device of that serial, or the only one.

    Raises:
        RequestError: no adb; no such device, several, or one that cannot be used; says why.
    """
    adb = find_adb()
    row = adb.choose(serial)
    return AndroidDevice(Connection(adb, row.name), f"android:{row.name}")


def listed() -> tuple[Listed, ...]:
    """List every device that adb knows. RequestError without adb."""
    adb = find_adb()
    return tuple(_listed(adb, row) for row in adb.rows())


def _listed(adb: Adb, row: AdbRow) -> Listed:
    name = f"android:{row.name}"
    if row.problem:
        return Listed(name, None, None, row.problem)
    try:
        answers = Connection(adb, row.name).ask({**facts.PARTS, **condition.PARTS})
    except SamExportError as error:
        return Listed(name, None, None, str(error))
    known = facts.parse(answers, name, row.name)
    return Listed(name, known, condition.parse(answers), facts.problem_of(known, answers))


def clean(serial: str) -> str:
    """Remove what was kept on the device for the next run; says how much it was."""
    device = find(serial)
    return f"{device.clean() / 2**20:.1f} MB removed"


def knows(name: str) -> bool:
    """Tell whether adb lists a device of that name, or it is an address to connect to."""
    address = AdbRow(name, "unknown")
    if address.over_network and re.match(r"localhost:|\[|[^:]*\.", name):
        return True
    return named(find_adb().rows(), name) is not None


KIND = DeviceKind(
    name="android",
    find=find,
    listed=listed,
    clean=clean,
    ways=tuple(way_kinds()),
    delegates=delegates(),
    modes=MODES,
    options=OPTIONS,
    knows=knows,
    class_of=judge_row,
)
