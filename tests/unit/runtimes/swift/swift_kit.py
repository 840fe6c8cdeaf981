"""The Swift package, built once for all tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.runtimes import segment_kit
from tests.unit.runtimes.segment_kit import ROOT

PACKAGE = ROOT / "runtimes" / "swift"
SCRATCH = ROOT / "build" / "swift"
STRICT = ("-Xswiftc", "-warnings-as-errors")


def require_swift() -> None:
    """Skip if there is no Swift, or no zlib for its pictures."""
    if shutil.which("swift") is None:
        pytest.skip("Swift is missing: https://www.swift.org/install")
    if not Path("/usr/include/zlib.h").exists() and os.uname().sysname == "Linux":
        pytest.skip("zlib's header is missing: apt-get install zlib1g-dev")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a program in the package's folder."""
    return segment_kit.run(*words, cwd=PACKAGE)


def swift(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`swift build` or `swift test`, one at a time: they share a folder."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (SCRATCH / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run("swift", verb, "--scratch-path", SCRATCH, *STRICT, *words)


@dataclass(frozen=True)
class StandIn:
    """Apple's modules as declarations, and the package as far as it needs them, in a folder."""

    folder: Path

    def check(self, files: Sequence[Path], *, module: str = "") -> str:
        """Type-check files, or make a module of them; returns what the compiler says."""
        made = ("-emit-module", "-module-name", module) if module else ("-typecheck",)
        where = ("-emit-module-path", self.folder / f"{module}.swiftmodule") if module else ()
        strict = ("-swift-version", "6", "-warnings-as-errors", "-parse-as-library")
        cache = ("-module-cache-path", self.folder / "cache")
        ran = run("swiftc", *strict, *cache, "-I", self.folder, *made, *where, *files)
        assert ran.returncode in (0, 1), ran.stderr
        return ran.stdout + ran.stderr


def sources(target: str) -> list[Path]:
    """The files of a target."""
    return sorted((PACKAGE / "Sources" / target).glob("*.swift"))
