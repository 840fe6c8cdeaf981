"""One request to the runner on a device: what it needs is sent, it is started, its answer read.

    Documents/requests/NAME.pack    what it needs
    Documents/answers/NAME.pack     what it gives; NAME.done follows it
    Documents/answers/NAME.stage    what it does at the moment, for the message if it dies
    Documents/files/                models and inputs, kept for the next run

The app's words are a verb, NAME and seconds: `look` (facts, state, what is kept), `state`, `run`
(a job, job.txt in the pack), `clean`.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.cache import default_cache
from exporter.errors import DeviceError, RequestError
from exporter.printable import printable
from ios_harness import crashes
from ios_harness.answers import RunnerAnswer, read_answer
from ios_harness.errors import NoRunnerError
from ios_harness.pack import read_pack, write_pack
from ios_harness.transports import NO_RUNNER, Transport, runner_app

LOG = logging.getLogger("sam_export.device")
LOOK, STATE, RUN, CLEAN = "look", "state", "run", "clean"
LOOK_SECONDS = 60.0
LOG_SECONDS = 10.0
"""How long a crash log is waited for: the system writes it after the process has ended."""
_LOG_POLL = 2.0
_MOST_STAGE = 300


@dataclass(frozen=True)
class Answered:
    """An answer, and the files beside it."""

    answer: RunnerAnswer
    files: Mapping[str, bytes]


@dataclass
class Exchange:
    """Requests to one device. `name` is how a user names it."""

    transport: Transport
    name: str

    def demand_runner(self) -> None:
        """Install the runner if it is missing and the user gave one.

        Raises:
            NoRunnerError: it is missing.
            InstallError, NoSpaceError: the device refused it.
        """
        self.transport.demand_ready()
        if self.transport.is_installed():
            return
        app = runner_app()
        if app is None:
            raise NoRunnerError(NO_RUNNER)
        LOG.info("%s: installing %s", self.name, app.name)
        self.transport.install(app)

    def ask(
        self,
        verb: str,
        *,
        files: Mapping[str, Path | bytes] | None = None,
        deadline: float = LOOK_SECONDS,
        size: int = 0,
    ) -> Answered:
        """Send a request and wait for its answer.

        Args:
            verb: what is asked.
            files: for the request's pack.
            deadline: seconds; the runner's watchdog ends it then.
            size: bytes that the answer may have; they are given time.

        Raises:
            HangError, CrashError, MemoryLimitError, RunnerError, AnswerError: how it ended.
            UnusableError, DeviceError: what the transport says.
        """
        request = f"{verb}-{secrets.token_hex(4)}"
        with tempfile.TemporaryDirectory(prefix="sam-export-") as temporary:
            folder = Path(temporary)
            if files is not None:
                write_pack(folder / "request.pack", files)
                self.transport.push(folder / "request.pack", f"requests/{request}.pack")
            self.transport.launch((verb, request, f"{max(1, round(deadline))}"), deadline)
            pack = folder / "answer.pack"
            if not self.transport.pull(f"answers/{request}.pack", pack, size):
                raise crashes.ending(self._logs(), self._stage(request, folder))
            found = read_pack(pack)
        return Answered(read_answer(found, request), found)

    def _stage(self, request: str, folder: Path) -> str:
        """Ask what the runner did when it died; empty if that is not known."""
        path = folder / "stage"
        with suppress(DeviceError, RequestError):
            if self.transport.pull(f"answers/{request}.stage", path):
                return printable(path.read_text("utf-8", "replace").strip(), _MOST_STAGE)
        return ""

    def _logs(self) -> list[Path]:
        """Copy the crash logs of the last launch; waits until the system has written one."""
        folder = log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + LOG_SECONDS
        while True:
            with suppress(DeviceError):
                found = self.transport.crash_logs(folder)
                if found:
                    return found
            if time.monotonic() >= end:
                return []
            time.sleep(_LOG_POLL)


def log_folder() -> Path:
    """Return the folder on this computer that crash logs are copied to."""
    return default_cache(os.environ) / "ios-crash-logs"
