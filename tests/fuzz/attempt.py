"""Read one input, and judge how that went."""

from __future__ import annotations

import contextlib
import re
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from exporter.errors import SamExportError
from exporter.printable import LINE, one_line
from tests.fuzz.target import Target

LONGEST_MESSAGE = 100_000
"""Characters of an error's own text; a command cuts it, but nobody should make megabytes of it."""


class TooLong(BaseException):
    """The input's processor time is over; no reader may swallow this."""


@dataclass(frozen=True)
class Outcome:
    """How reading ended.

    Attributes:
        accepted: whether it was read to its end.
        finding: what is wrong with how it ended; empty if nothing.
        kind: like outcomes have like kinds: to tell a new one from those seen.
    """

    accepted: bool
    finding: str
    kind: str


def attempt(target: Target, data: bytes, folder: Path) -> Outcome:
    """Read an input within the target's limits."""
    before, start = _resetpeak(), time.process_time()
    accepted, message = False, ""
    try:
        with _alarm(target.seconds):
            target.read(data, folder)
        accepted = True
    except SamExportError as error:
        message = str(error)
    except TooLong as error:
        return Outcome(
            False, f"took over {target.seconds} s of processor time: {_place(error)}", "slow"
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        place = _place(error)
        return Outcome(False, f"{type(error).__name__} at {place}: {one_line(error)[:300]}", place)
    grown = (peak() - before) / 1e6
    kind = "accepted" if accepted else _kind(message, folder)
    if grown > target.megabytes:
        return Outcome(
            accepted, f"grew by {grown:.0f} MB, in {time.process_time() - start:.1f} s", "memory"
        )
    return Outcome(accepted, _unfit(message), kind)


def _unfit(message: str) -> str:
    """What makes a refusal unfit for a terminal; empty if nothing."""
    if len(message) > LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    line = one_line(SamExportError(message))
    if not line.isprintable() or len(line) > LINE:
        return f"a message that cannot be shown: {line[:200]!r}"
    return ""


def _kind(message: str, folder: Path) -> str:
    return re.sub(r"[\d.]+|'[^']*'", "#", message.replace(str(folder), ""))[:60]


def _place(error: BaseException) -> str:
    """The file and line that raised it, or the last of ours that was running."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/fuzz/" not in f.filename and "/lib/" not in f.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _resetpeak() -> int:
    """Forget the peak of memory (Linux); returns the bytes resident now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes that were resident since the reset; 0 if the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
