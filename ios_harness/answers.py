"""What the runner answers: `answer.json` in a pack. The runner's Answer.swift writes the same."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.bundle.ranges import Count
from exporter.bundle.reading import decode, parse
from exporter.errors import BundleError, RunnerError
from exporter.printable import printable
from ios_harness.errors import AnswerError, HangError
from runtimes.device import THROTTLED, Condition, Placed, ThermalStatus
from runtimes.remote.report import RunnerReport, parse_report

VERSION = 1
"""Of the answer; Answer.swift has the same number."""
FILE = "answer.json"
THERMAL = ("nominal", "fair", "serious", "critical")
"""Apple's words for `ProcessInfo.ThermalState` 0..3."""
LOW_BATTERY = 20
_HUNG = "hung"


@dataclass(frozen=True)
class RunnerFacts:
    """What the runner says of the machine that it runs on.

    Attributes:
        kind: `device`, `simulator`, `mac` (an iOS app on a Mac), or `simulated` by tests.
        model: Apple's identifier: `iPhone15,3`.
        system: `iOS` or `iPadOS`.
        version: of the system; `build` too.
        abi: `arm64` or `x86_64`.
        cores: of the processor.
        memory_bytes: of the whole device; so too `page_bytes`.
    """

    kind: str
    model: str
    system: str
    version: str
    build: str
    abi: str
    cores: Count
    memory_bytes: Count
    page_bytes: Count


@dataclass(frozen=True)
class RunnerState:
    """How the device is at one moment. None is what it does not tell.

    Attributes:
        thermal: 0..3, as THERMAL names them.
        free_bytes: of its storage, for the runner.
    """

    thermal: Count | None
    low_power: bool | None
    battery_percent: Count | None
    charging: bool | None
    free_bytes: Count | None

    def condition(self) -> Condition:
        """Put it into the words of measuring."""
        notes = []
        if self.thermal is None:
            notes.append("the device tells no thermal state")
        if self.low_power:
            notes.append("low-power mode is on")
        if self.battery_percent is not None and self.battery_percent < LOW_BATTERY:
            notes.append("the battery is low")
        return Condition(
            at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            thermal_status=thermal_status(self.thermal),
            battery_percent=self.battery_percent,
            charging=self.charging,
            awake=True,  # an app in the foreground answered
            notes=tuple(notes),
        )


@dataclass(frozen=True)
class RunnerAnswer:
    """An answer. Which fields are there depends on what was asked.

    Attributes:
        answer: VERSION of the program.
        request: the name of what was asked, so that an old answer is not taken for this one's.
        runtimes: name in a job -> its version, for those that the runner has.
        kept: name -> sha256 of every file that it has.
        state: before what was asked; `state_after` after it.
        report: of a job, as JSON text.
        cold_load_ns: of the graph, if its runtime compiles it on the device.
        placement: where the graph's operations run, if the runtime tells.
        freed_bytes: by a clean.
    """

    answer: int
    request: str
    facts: RunnerFacts
    state: RunnerState
    runtimes: dict[str, str]
    kept: dict[str, str] = field(default_factory=dict)
    state_after: RunnerState | None = None
    report: dict[str, Any] | None = None
    cold_load_ns: Count | None = None
    placement: tuple[Placed, ...] = ()
    freed_bytes: Count | None = None

    def runner_report(self) -> RunnerReport:
        """Read the report of a job. RunnerError if there is none, or the runner told an error."""
        if self.report is None:
            raise RunnerError("the runner's answer has no report")
        return parse_report(json.dumps(self.report))

    def notes(self) -> tuple[str, ...]:
        """Say what happened to the device meanwhile: it grew hot, a mode was switched on."""
        if self.state_after is None:
            return ()
        found = []
        before, after = (thermal_status(s.thermal) for s in (self.state, self.state_after))
        if before is not None and after is not None and max(before.level, after.level) > 0:
            found.append(f"{THROTTLED} thermal state {before.word} -> {after.word}")
        if self.state_after.low_power:
            found.append(f"{THROTTLED} low-power mode is on")
        return tuple(found)


def thermal_status(level: int | None) -> ThermalStatus | None:
    """Name a level in Apple's word; None for one that it does not define."""
    return None if level is None or level >= len(THERMAL) else ThermalStatus(level, THERMAL[level])


def read_answer(files: Mapping[str, bytes], request: str) -> RunnerAnswer:
    """Read the answer in the files of a pack.

    Raises:
        HangError: the runner's own watchdog ended it.
        RunnerError: the runner told an error; in its words.
        AnswerError: it is missing, of another version, of another request, or not whole.
    """
    raw = files.get(FILE)
    if raw is None:
        raise AnswerError(f"the runner gave no {FILE}: install the runner of this release")
    try:
        data = decode(raw, "the runner's answer")
        if not isinstance(data, dict) or data.get("answer") != VERSION:
            found = data.get("answer") if isinstance(data, dict) else None
            raise AnswerError(
                f"the runner on the device speaks version {printable(repr(found), 40)}, not "
                f"{VERSION}: build and install the runner of this release"
            )
        _raise_told(data)
        answer = parse(RunnerAnswer, data, "answer")
    except BundleError as error:
        raise AnswerError(f"the runner's answer is not whole: {error}") from None
    if answer.request != request:
        raise AnswerError(
            f"the runner answered {printable(answer.request, 40)!r}, not what was asked: "
            "end the app on the device and measure again"
        )
    return answer


def _raise_told(data: Mapping[str, Any]) -> None:
    """RunnerError if the answer is an error."""
    if "error" not in data:
        return
    told = printable(str(data["error"]), 500)
    if data.get("kind") == _HUNG:
        raise HangError(
            f"the runner did not end in time and stopped itself: {told}; give --deadline more, or "
            "let other compute units (--delegate) compute"
        )
    raise RunnerError(f"the runner failed: {told}")
