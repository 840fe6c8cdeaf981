"""The Swift package, built once for all tests."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import Bools

ROOT = Path(__file__).parents[4]
PACKAGE = ROOT / "runtimes" / "swift"
SCRATCH = ROOT / "build" / "swift"
STRICT = ("-Xswiftc", "-warnings-as-errors")
MINUTES = 5
AGREE = 0.9999
"""The least share of equal pixels; all have been equal so far."""


def require_swift() -> None:
    """Skip if there is no Swift, or no zlib for its pictures."""
    if shutil.which("swift") is None:
        pytest.skip("Swift is missing: https://www.swift.org/install")
    if not Path("/usr/include/zlib.h").exists() and os.uname().sysname == "Linux":
        pytest.skip("zlib's header is missing: apt-get install zlib1g-dev")


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a program in the package's folder."""
    environment = {**os.environ, "SAM_ONNXRUNTIME": str(onnxruntime())}
    return subprocess.run(
        [str(word) for word in words],
        cwd=PACKAGE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * MINUTES,
        **options,
    )


def onnxruntime() -> Path:
    """The library of the installed wheel."""
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        pytest.skip("onnxruntime is missing: pip install 'sam-export[run-onnx]'")
    libraries = sorted((Path(found.origin).parent / "capi").glob("libonnxruntime.*[0-9]*"))
    if not libraries:
        pytest.skip("the onnxruntime wheel has no library of its own")
    return libraries[0]


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


def compare(built: Path, bundle: Bundle, words: Sequence[object], expected: Bools) -> None:
    """Run `sam-segment` and compare its masks (K, H, W)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ran = run(built, bundle.path, *words, "--mask", folder / "mask.png")
        assert ran.returncode == 0, ran.stderr
        files = [folder / f"mask_{i}.png" for i in range(len(expected))]
        files = files if len(files) > 1 else [folder / "mask.png"]
        assert sorted(files) == sorted(folder.iterdir())
        found = np.stack([np.asarray(Image.open(file)) for file in files])
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, np.where(found > 0, 255, 0))
    share = np.mean((found == 255) == expected)
    assert share >= AGREE, f"{share:.6f} of the pixels agree"
