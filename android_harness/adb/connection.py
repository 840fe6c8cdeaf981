"""One device on adb: commands whose exit status can be trusted, files there and back."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_harness.adb import sections
from android_harness.adb.program import QUICK, Adb, AdbAnswer, failure
from android_harness.adb.rows import AdbRow, selector
from android_harness.errors import CommandError, ReadOnlyError
from exporter.errors import DeviceError
from runtimes.remote.errors import NoSpaceError, UnusableError

LOG = logging.getLogger("sam_export.device")
SLOWEST = 2 * 2**20
"""Bytes a second that a transfer may be as slow as before it counts as stuck."""
_MARK = "@@sam-export-exit:"
_END = re.compile(rf"\n{_MARK}(\d+)\n?\Z")


@dataclass(frozen=True)
class Connection:
    """A device that was there when it was chosen.

    Attributes:
        serial: what names it alone, see `AdbRow.name`.
    """

    adb: Adb
    serial: str

    def shell(self, script: str, deadline: float = QUICK, *, bare: bool = False) -> AdbAnswer:
        """Run a script; its own exit status and output.

        The status travels as the last line of the output. Devices before Android 7 send none at
        all, and for a connection that breaks off adb itself exits with 0: no such line, no answer.

        Args:
            script: for the device's sh.
            deadline: seconds.
            bare: in the shell that adb starts, not in a subshell of it: only that one is told
                when the connection is lost. Such a script must not `exit` where it ends well.

        Raises:
            DeviceLostError: the device went away.
            DeviceError: it is there, and the answer is not whole.
            AdbTimeoutError: no answer in time; what was started there may still run.
        """
        body = f"{script}\n" if bare else f"( {script}\n)\n"
        wrapped = f"{body}printf '\\n{_MARK}%d\\n' $?"
        answer = self.adb.run(*selector(self.serial), "shell", wrapped, deadline=deadline)
        match = _END.search(answer.out)
        if match is None:
            raise self._failed(("shell", script), answer)
        return AdbAnswer(int(match[1]), answer.out[: match.start()], answer.err)

    def check(self, script: str, deadline: float = QUICK) -> str:
        """Like `shell`, for a script that must succeed: its output.

        Raises:
            NoSpaceError: the device is full.
            ReadOnlyError: it may not write there.
            CommandError: it failed otherwise.
        """
        answer = self.shell(script, deadline)
        if answer.code:
            raise self._refused(AdbAnswer(answer.code, "", answer.err or answer.out))
        return answer.out

    def ask(self, parts: Mapping[str, str], deadline: float = QUICK) -> dict[str, str]:
        """Run every part in one trip; a part that fails gives what it had printed."""
        return sections.split(self.shell(sections.script(parts), deadline).out)

    def push(self, sources: Sequence[Path], folder: str) -> None:
        """Copy files into a folder of the device that exists.

        Raises:
            NoSpaceError, ReadOnlyError, DeviceLostError, DeviceError: what adb says.
        """
        size = sum(source.stat().st_size for source in sources)
        files = [str(source) for source in sources]
        answer = self.adb.run(
            *(*selector(self.serial), "push", *files, f"{folder}/"), deadline=QUICK + size / SLOWEST
        )
        if answer.code:
            raise self._failed(("push", Path(files[0]).name, folder), answer)

    def pull(self, sources: Sequence[str], folder: Path, size: int) -> None:
        """Copy files of the device into a folder here; `size` is about how many bytes they have.

        Raises:
            DeviceLostError, DeviceError: what adb says.
        """
        answer = self.adb.run(
            *(*selector(self.serial), "pull", *sources, str(folder)),
            deadline=QUICK + size / SLOWEST,
        )
        if answer.code:
            raise self._failed(("pull", *sources), answer)

    def is_there(self) -> bool:
        """Tell whether adb reaches the device now."""
        return self.adb.state(self.serial) == "device"

    def reconnect(self, seconds: float) -> bool:
        """Wait for the device to come back, and connect to it if it is on the network."""
        end = time.monotonic() + seconds
        while not self.is_there():
            if time.monotonic() > end:
                return False
            if AdbRow(self.serial, "offline").over_network:
                try:
                    self.adb.connect(self.serial)
                except (UnusableError, DeviceError) as error:
                    LOG.debug("not back yet: %s", error)
            time.sleep(0.5)
        return True

    def _refused(self, answer: AdbAnswer) -> DeviceError:
        """Make the error for a command or a copy that the device did not carry out."""
        said = f"{answer.err}\n{answer.out}"
        if "No space left on device" in said:
            return NoSpaceError(f"{self.serial} is full ({answer.last}): free some space on it")
        if re.search(r"Read-only file system|Permission denied", said):
            return ReadOnlyError(
                f"{self.serial} cannot be written where measuring needs it ({answer.last})"
            )
        return CommandError(f"a command on {self.serial} failed: {answer.last}")

    def _failed(self, arguments: tuple[str, ...], answer: AdbAnswer) -> DeviceError:
        """Make the error for a call of adb without an answer; a device that is gone comes first."""
        if not self.is_there():
            return failure(self.serial, arguments, answer, gone=True)
        refused = self._refused(answer)
        if isinstance(refused, CommandError):
            return failure(self.serial, arguments, answer)
        return refused


def quoted(names: Sequence[str]) -> str:
    """Names for a shell, parted by spaces."""
    return " ".join(shlex.quote(name) for name in names)
