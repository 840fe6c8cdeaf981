"""The way that needs no Android toolkit: a runner for glibc, started through a loader of its own.

A capsule holds the runner, one runtime's library, glibc with its loader, and libstdc++: everything
that a Linux program needs, so nothing of Android's own is loaded. It is put together on the user's
machine and kept in the cache; it is not shipped, because its parts have licences of their own
(its manifest.json names them). CPU only: a vendor's GPU and NPU libraries are built for Android's
libc and cannot be loaded. Proven under emulation and in a simulated device; on real phones it is
experimental until somebody confirms it.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from android_harness.process import (
    ABIS,
    RUNTIME_OF,
    Answer,
    DeviceFile,
    read_runner,
    started,
)
from android_harness.runner.compilers import INSTALL, find_compiler
from android_harness.ways.capsule import wheels
from android_harness.ways.capsule.assemble import LOADER, MANIFEST, RUNNER, build
from exporter.cache import default_cache
from runtimes.remote.job import LITERT, MODES, Job, Library
from runtimes.remote.report import Report

_FOLDER = "capsule"


@dataclass(frozen=True)
class Capsule:
    """The way `capsule`. `cache` is None for the default folder."""

    cache: Path | None = None
    name: str = "capsule"

    def missing(self, abi: str, target: str, delegate: str) -> str | None:
        """See `Way`."""
        if abi not in ABIS:
            return f"a capsule is for {' and '.join(ABIS)}, not {abi}"
        if target not in RUNTIME_OF:
            return f"nothing on Android runs a {target} bundle"
        if delegate not in ("cpu", "xnnpack"):
            return f"a capsule has the CPU alone, not {delegate}: vendors build for Android's libc"
        if delegate == "xnnpack" and RUNTIME_OF[target] != LITERT:
            return "the wheel's onnxruntime has no XNNPACK"
        if find_compiler(abi) is None:
            return f"no C compiler for {abi}: {INSTALL[abi]}"
        return None

    def modes(self) -> tuple[str, ...]:
        """See `Way`."""
        return MODES

    def library(self, abi: str, target: str) -> Library:
        """See `Way`."""
        wheel = wheels.WHEELS[target]
        return Library(RUNTIME_OF[target], f"{_FOLDER}-{abi}/{wheel.library}", wheel.version)

    def files(self, abi: str, target: str) -> tuple[DeviceFile, ...]:
        """See `Way`."""
        folder = build(abi, target, self.cache or default_cache(os.environ))
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        programs = {RUNNER, LOADER[abi]}
        return tuple(
            DeviceFile(folder / name, f"{_FOLDER}-{abi}/{name}", entry["sha256"], name in programs)
            for name, entry in sorted(listed.items())
        )

    def self_test(self, folder: str, abi: str, target: str) -> str | None:
        """See `Way`."""
        library = self.library(abi, target).file
        return started(folder, f"{_program(abi)} --version {library}")

    def command(self, folder: str, job: Job, job_file: str, *, prefix: str = "") -> str:
        """See `Way`."""
        abi = job.library.partition("/")[0].removeprefix(f"{_FOLDER}-")
        return started(folder, f"{_program(abi)} {shlex.quote(job_file)}", prefix=prefix)

    def pulls(self, job: Job) -> tuple[str, ...]:
        """See `Way`."""
        del job
        return ()

    def read(self, job: Job, answer: Answer) -> Report:
        """See `Way`."""
        del job
        return read_runner(answer)


def _program(abi: str) -> str:
    folder = f"{_FOLDER}-{abi}"
    return f"{folder}/{LOADER[abi]} --library-path {folder} {folder}/{RUNNER}"
