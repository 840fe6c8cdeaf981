"""What every way of running on a device has in common: its contract, and the shell it is given.

A way is a program for the device and the files that it needs there. `ways.py` finds one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from exporter.errors import RunnerError
from runtimes.remote.job import LITERT, ORT, Job, Library
from runtimes.remote.report import Report, parse_report

ABIS = ("arm64-v8a", "x86_64")
RUNTIME_OF = {"onnx": ORT, "tflite": LITERT}
"""Export target -> the runtime that runs it on Android."""
LIBRARY_OF = {"onnx": "libonnxruntime.so", "tflite": "libLiteRt.so"}
TIMED_OUT, KILLED, SEGFAULT = 124, 137, 139
AARS, BENCHMARK_MODEL = "SAM_EXPORT_AARS", "SAM_EXPORT_BENCHMARK_MODEL"
"""Environment variables: files or folders of AARs, parted as PATH is; a program."""


@dataclass(frozen=True)
class DeviceFile:
    """A file that a way needs on the device, `remote` being relative to the work folder."""

    local: Path
    remote: str
    sha256: str
    executable: bool = False


@dataclass(frozen=True)
class Answer:
    """What a command on the device gave.

    Attributes:
        status: its exit code; 124 where `timeout` ended it.
        files: those of `Way.pulls` that were there.
    """

    status: int
    stdout: str
    stderr: str
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Supplies:
    """What the user brought.

    Attributes:
        aars: onnxruntime-android and litert, from Maven; for `ndk`.
        ndk: folder of Android's native toolkit; None for what the environment names.
        benchmark_model: a binary for the device's ABI.
        cache: where capsules and builds are kept; None for the default.
    """

    aars: tuple[Path, ...] = ()
    ndk: Path | None = None
    benchmark_model: Path | None = None
    cache: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Supplies:
        """What AARS and BENCHMARK_MODEL name; the NDK's variables are Android's own."""
        aars: list[Path] = []
        for place in map(Path, filter(None, environment.get(AARS, "").split(os.pathsep))):
            aars += sorted(place.glob("*.aar")) if place.is_dir() else [place]
        program = environment.get(BENCHMARK_MODEL)
        return cls(tuple(aars), benchmark_model=Path(program) if program else None)


class Way(Protocol):
    """One way of running on a device."""

    @property
    def name(self) -> str:
        """For `--way`."""
        ...

    def missing(self, abi: str, target: str, delegate: str) -> str | None:
        """Why it cannot, by name, and what to do; None where it can."""
        ...

    def modes(self) -> tuple[str, ...]:
        """The modes of a job that it can do."""
        ...

    def library(self, abi: str, target: str) -> Library:
        """What a job names as its runtime."""
        ...

    def files(self, abi: str, target: str) -> tuple[DeviceFile, ...]:
        """What has to be on the device; built the first time. ExportError where that fails."""
        ...

    def self_test(self, folder: str, abi: str, target: str) -> str | None:
        """A shell command that proves it starts there; None where it has none."""
        ...

    def command(self, folder: str, job: Job, job_file: str, *, prefix: str = "") -> str:
        """A shell command that becomes the runner, so that ending the shell ends the runner.

        Args:
            folder: the work folder on the device, absolute.
            job: what to do.
            job_file: where its text is, relative to the folder.
            prefix: what to start it with: `timeout 600`.
        """
        ...

    def pulls(self, job: Job) -> tuple[str, ...]:
        """Files that `read` wants, as far as they exist after the run."""
        ...

    def read(self, job: Job, answer: Answer) -> Report:
        """The report. RunnerError with the runner's own words where it failed."""
        ...


def started(
    folder: str, program: str, *, prefix: str = "", libraries: str = "", stale: str = ""
) -> str:
    """A shell command that becomes `program`, in `folder` and with a clean environment.

    A library that the vendor's LD_PRELOAD names would be loaded into the runner too.

    Args:
        folder: absolute, on the device.
        program: with its arguments, quoted.
        prefix: what to start it with.
        libraries: for LD_LIBRARY_PATH.
        stale: a file of an earlier run that must not be taken for this one's.
    """
    place = shlex.quote(folder)
    path = f" LD_LIBRARY_PATH={shlex.quote(libraries)}" if libraries else ""
    remove = f"rm -f {shlex.quote(stale)} && " if stale else ""
    return (
        f"cd {place} && {remove}unset LD_PRELOAD LD_LIBRARY_PATH && "
        f"export ORT_DISABLE_TELEMETRY=1 TMPDIR={place} HOME={place}{path} && "
        f"exec {f'{prefix} ' if prefix else ''}{program}"
    )


def read_runner(answer: Answer) -> Report:
    """The report of runner.c; RunnerError that says how it ended where there is none."""
    if answer.status == 0 or answer.stdout.strip():
        if answer.status in (TIMED_OUT, KILLED):
            raise RunnerError(ending(answer))
        return parse_report(answer.stdout)
    raise RunnerError(ending(answer))


def ending(answer: Answer) -> str:
    """How a program on the device ended, with its last words."""
    how = {
        TIMED_OUT: "the runner did not end in time and was stopped",
        KILLED: "the system killed the runner (out of memory?)",
        SEGFAULT: "the runner crashed (segmentation fault)",
    }.get(answer.status, f"the runner ended with exit code {answer.status} and no answer")
    lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    return f"{how}; its last words: {lines[-1][:200]!r}" if lines else how
