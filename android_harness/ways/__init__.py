"""The ways of running on an Android device, and the choice among them.

How to add one: write `android_harness/ways/NAME.py` (or a folder NAME) with `WAY`, a `WayKind` that
makes a `Way` of that name. `--way NAME` and the choice of `auto` find it; nothing else changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from android_harness.process import Answer
from exporter import catalog
from exporter.closest import unknown
from exporter.errors import RequestError
from runtimes.remote.job import Library, RunnerJob
from runtimes.remote.report import RunnerReport

AUTO = "auto"
AARS, BENCHMARK_MODEL = "SAM_EXPORT_AARS", "SAM_EXPORT_BENCHMARK_MODEL"
"""Environment variables: files or folders of AARs, parted as PATH is; a program."""


@dataclass(frozen=True)
class Wanted:
    """What to run: the processor, the target of the bundle, and the delegate that computes."""

    abi: str
    target: str
    delegate: str = "cpu"


@dataclass(frozen=True)
class DeviceFile:
    """A file that a way needs on the device; `remote` is relative to the work folder."""

    local: Path
    remote: str
    sha256: str
    executable: bool = False


@dataclass(frozen=True)
class Supplies:
    """The user's own files.

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
        """Collect the tools that AARS, BENCHMARK_MODEL and Android's own NDK variables name."""
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

    def missing(self, wanted: Wanted) -> str | None:
        """Why it cannot, by name, and what to do; None if it can."""
        ...

    def modes(self) -> tuple[str, ...]:
        """List the modes of a job that it can do."""
        ...

    def library(self, wanted: Wanted) -> Library:
        """Find the runtime that a job names."""
        ...

    def files(self, wanted: Wanted) -> tuple[DeviceFile, ...]:
        """List the files that the device needs; built the first time. ExportError if that fails."""
        ...

    def self_test(self, folder: str, wanted: Wanted) -> str | None:
        """Make a shell command that proves it starts there; None if it has none."""
        ...

    def command(self, folder: str, job: RunnerJob, job_file: str, *, prefix: str = "") -> str:
        """Make a shell command that becomes the runner, so that ending the shell ends the runner.

        Args:
            folder: the work folder on the device, absolute.
            job: what to do.
            job_file: where its text is, relative to the folder.
            prefix: what to start it with: `timeout 600`.
        """
        ...

    def pulls(self, job: RunnerJob) -> tuple[str, ...]:
        """Files that `read` wants, as far as they exist after the run."""
        ...

    def read(self, job: RunnerJob, answer: Answer) -> RunnerReport:
        """Parse the report. RunnerError with the runner's own words if it failed."""
        ...


@dataclass(frozen=True)
class WayKind:
    """What a file of this folder exports as `WAY`.

    Attributes:
        make: the user's supplies -> the way.
        delegates: what it may offer, whatever the target.
        rank: `auto` tries the lowest first, the nearest to an app; None: only if asked for.
    """

    make: Callable[[Supplies], Way]
    delegates: tuple[str, ...]
    rank: int | None


def way_kinds() -> dict[str, WayKind]:
    """Load every way by name: those that `auto` tries in their order, then the others."""
    found = {name: catalog.load(__name__, name, "WAY") for name in catalog.names(__name__)}

    def order(item: tuple[str, WayKind]) -> tuple[bool, int]:
        return item[1].rank is None, item[1].rank or 0

    return dict(sorted(found.items(), key=order))


def delegates() -> tuple[str, ...]:
    """List every delegate that some way offers, each once."""
    return tuple(dict.fromkeys(d for kind in way_kinds().values() for d in kind.delegates))


def find_way(name: str, wanted: Wanted, supplies: Supplies) -> Way:
    """Find the named way, or for `auto` the first that can.

    Raises:
        RequestError: no such way or delegate, or it cannot; every reason is named.
    """
    kinds = way_kinds()
    if wanted.delegate not in delegates():
        raise unknown("delegate", wanted.delegate, delegates())
    if name != AUTO and name not in kinds:
        raise unknown("way", name, (AUTO, *kinds))
    reasons = []
    for each in kinds if name == AUTO else (name,):
        way = kinds[each].make(supplies)
        reason = way.missing(wanted)
        # One that is never taken unasked can show neither parity nor single calls.
        unasked = name == AUTO and kinds[each].rank is None
        if reason is None and not unasked:
            return way
        reasons.append(f"--way {each} could" if reason is None else f"{each}: {reason}")
    raise RequestError(
        f"cannot run {wanted.target} with {wanted.delegate} on {wanted.abi} ({'; '.join(reasons)})"
    )
