"""What the ways that start our own C runner share, wherever its libc comes from."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod

from android_harness.process import Answer, read_runner, start_command
from android_harness.ways import Wanted
from runtimes.remote.job import MODES, Library, RunnerJob
from runtimes.remote.report import RunnerReport


class OwnRunner(ABC):
    """See `Way`. The runner lies in the folder of the library that a job names."""

    @abstractmethod
    def library(self, wanted: Wanted) -> Library:
        """See `Way`."""

    @abstractmethod
    def program(self, place: str) -> str:
        """Spell how the runner in the folder `place` of the work folder is started."""

    def libraries(self, folder: str, place: str) -> str:
        """Spell LD_LIBRARY_PATH for it; empty for nothing."""
        del folder, place
        return ""

    def modes(self) -> tuple[str, ...]:
        """See `Way`."""
        return MODES

    def self_test(self, folder: str, wanted: Wanted) -> str | None:
        """See `Way`."""
        library = self.library(wanted).file
        return self._start(folder, library, f"--version {library}", "")

    def command(self, folder: str, job: RunnerJob, job_file: str, *, prefix: str = "") -> str:
        """See `Way`."""
        return self._start(folder, job.library, shlex.quote(job_file), prefix)

    def pulls(self, job: RunnerJob) -> tuple[str, ...]:
        """See `Way`."""
        del job
        return ()

    def read(self, job: RunnerJob, answer: Answer) -> RunnerReport:
        """See `Way`."""
        del job
        return read_runner(answer)

    def _start(self, folder: str, library: str, words: str, prefix: str) -> str:
        place = library.partition("/")[0]
        program, libraries = f"{self.program(place)} {words}", self.libraries(folder, place)
        return start_command(folder, program, prefix=prefix, libraries=libraries)
