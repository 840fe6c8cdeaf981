"""Old releases of the runtimes, each in an environment of its own, and graphs loaded there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.errors import BundleError, DownloadError

SERVER = Path(__file__).with_name("served.py")
_READY = ".ready"


@dataclass(frozen=True)
class Wheel:
    """One release of a runtime.

    Attributes:
        package: its distribution.
        alone: install it and numpy without what it declares beside them: its tools need that, a
            graph does not.
    """

    package: str
    version: str
    alone: bool = True

    @property
    def name(self) -> str:
        """`onnxruntime 1.17.0`."""
        return f"{self.package} {self.version}"


WHEELS: dict[str, tuple[Wheel, ...]] = {
    "onnx": tuple(
        Wheel("onnxruntime", version) for version in ("1.15.0", "1.16.0", "1.17.0", "1.18.0")
    ),
    "tflite": (
        Wheel("tensorflow-cpu", "2.12.0", alone=False),
        Wheel("tensorflow-cpu", "2.13.0", alone=False),
        Wheel("tflite-runtime", "2.14.0"),
        Wheel("ai-edge-litert", "1.0.1", alone=False),
    ),
}
"""Target -> releases, a package's oldest for Python 3.11 first."""


def install(wheel: Wheel, folder: Path) -> Path:
    """Install a release, once; returns its Python.

    Raises:
        DownloadError: it cannot be installed.
    """
    place = folder / f"{wheel.package}-{wheel.version}"
    python = place / "bin" / "python"
    if (place / _READY).is_file():
        return python
    shutil.rmtree(place, ignore_errors=True)
    _call([sys.executable, "-m", "venv", "--without-pip", str(place)])
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    command += ["--no-compile", "--disable-pip-version-check"]
    command += [*(["--no-deps"] if wheel.alone else []), "numpy<2"]
    _call([*command, f"{wheel.package}=={wheel.version}"])
    (place / _READY).touch()
    return python


def _call(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        reason = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DownloadError(f"{' '.join(command[-2:])} cannot be installed: {reason}")


class ServedGraph:
    """A graph loaded by an old release in a process of its own; a `LoadedGraph`.

    Use it in a `with` block, which ends the process.
    """

    def __init__(self, python: Path, wheel: Wheel, file: Path, graph: GraphFile) -> None:
        """Load the graph. BundleError if the release refuses it."""
        self._folder = tempfile.TemporaryDirectory()
        outputs = [tensor.name for tensor in graph.spec.outputs]
        command = [python, "-I", SERVER, wheel.package, file, graph.signature, self._folder.name]
        self._process = subprocess.Popen(
            [*map(str, command), *outputs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._wheel = wheel
        self._expect("ready")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`. BundleError if the release fails."""
        np.savez(Path(self._folder.name) / "in.npz", allow_pickle=False, **dict(inputs))
        assert self._process.stdin is not None  # noqa: S101 - for types: it is a pipe
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._expect("ok")
        with np.load(Path(self._folder.name) / "out.npz") as stored:
            return {name: stored[name] for name in stored.files}

    def __enter__(self) -> ServedGraph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def _expect(self, word: str) -> None:
        """Read up to the word; the runtimes print lines of their own."""
        assert self._process.stdout is not None  # noqa: S101 - for types: it is a pipe
        for line in self._process.stdout:
            if line.strip() == word:
                return
            if line.startswith("refused "):
                raise BundleError(line.removeprefix("refused ").strip())
        status = self._process.wait()
        raise BundleError(f"{self._wheel.name} ended with status {status}")
