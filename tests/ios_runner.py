"""The runner's Linux build, once for all tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ios_harness" / "runner"
SCRATCH = ROOT / "build" / "ios-runner"
STRICT = ("-Xswiftc", "-warnings-as-errors")
SECONDS = 900


def require_swift() -> None:
    """Skip if there is no Swift."""
    if shutil.which("swift") is None:
        pytest.skip("Swift is missing: https://www.swift.org/install")
    if os.uname().sysname != "Linux":
        pytest.skip("the runner for tests is built on Linux")


def swift(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`swift build` or `swift test` in the runner's package, one at a time."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (SCRATCH / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.run(
            ["swift", verb, "--scratch-path", str(SCRATCH), *STRICT, *words],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )


@cache
def built_runner() -> Path:
    """`sam-runner`, built with its tests."""
    require_swift()
    ran = swift("build", "--build-tests")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "warning:" not in ran.stdout + ran.stderr
    return SCRATCH / "debug" / "sam-runner"
