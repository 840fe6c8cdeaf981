"""`sam-segment` of an app library, run, and its masks compared with those of the Python twin."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.bundle.folder import Bundle
from exporter.bundle.preprocess import Bools

ROOT = Path(__file__).parents[3]
MINUTES = 10
AGREE = 0.9999
"""The least share of equal pixels; all have been equal so far."""


def run(
    *words: object, cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program; it finds the wheel's ONNX Runtime."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "SAM_ONNXRUNTIME": str(onnxruntime()), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * MINUTES,
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


def expect_refusal(built: Path, bundle: Path, words: Sequence[object], says: str) -> None:
    """Run a wrong request and expect one line and status 2."""
    ran = run(built, bundle, *words)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("sam-segment: error: ")
    assert says in line
