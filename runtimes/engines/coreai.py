"""Core AI's reference runtime, on Linux and macOS, in a process of its own.

It computes one value after another on one core: it shows that a file is right, and says nothing of
a phone's times. A damaged file may abort the process that opens it, so that is not ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from exporter.bundle.layouts import Array
from exporter.bundle.manifest import GraphFile
from exporter.errors import BundleError
from exporter.printable import printable
from runtimes.engines import EngineKind
from runtimes.engines.aimodel.talk import TalkError, receive, send

SERVING = "runtimes.engines.aimodel.serving"
PROGRAM, HASH = "main.mlirb", "main.hash"
AGAIN = "copy or export the bundle again"


@dataclass(frozen=True, eq=False)
class _CoreaiGraph:
    """A function that a process of its own has loaded; the process ends with this object."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    path: Path

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `LoadedGraph`. Ctrl-C ends the process, however long its call takes."""
        try:
            with contextlib.suppress(BrokenPipeError):  # it is gone: the answer says why
                send(_pipe(self.process.stdin), inputs)
            return self.answer(f"run {self.path}")
        except KeyboardInterrupt:
            self.process.kill()
            raise

    def answer(self, what: str) -> dict[str, Array]:
        """Wait for arrays. BundleError with the reason if there is an error, or no answer."""
        try:
            outputs = receive(_pipe(self.process.stdout))
        except (TalkError, ValueError) as error:
            raise BundleError(f"Core AI cannot {what}: {printable(str(error), 300)}") from error
        if outputs is None:
            raise BundleError(f"Core AI cannot {what}: {self._last_words()}")
        return outputs

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line]
        said = f": {printable(lines[-1], 200)}" if lines else ""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"its process {how}{said}"


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the process was started without pipes")
    return stream


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, errors):
        with contextlib.suppress(BrokenPipeError):  # what it never read
            _pipe(stream).close()


def _require_sound(path: Path) -> None:
    """BundleError if the program is not the one whose hash stands beside it.

    On Linux the runtime does not compare them, and a program cut short aborts it.
    """
    try:
        program, written = (path / PROGRAM).read_bytes(), (path / HASH).read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is no .aimodel: {error.strerror}; {AGAIN}") from None
    if hashlib.sha256(program).digest() != written:
        raise BundleError(f"{path}: {PROGRAM} was changed or cut short; {AGAIN}")


def _missing() -> str | None:
    if importlib.util.find_spec("coreai") is None:
        return "pip install 'sam-export[run-coreai]'"
    return None


def _open(path: Path, graph: GraphFile, threads: int) -> _CoreaiGraph:
    """Load a function; `threads` has no effect, since the runtime uses one core."""
    _require_sound(path)
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
    process = subprocess.Popen(
        [sys.executable, "-m", SERVING, str(path.absolute()), graph.signature],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    loaded = _CoreaiGraph(process, errors, path)
    weakref.finalize(loaded, _end, process, errors)
    loaded.answer(f"load {path}")
    return loaded


ENGINE = EngineKind(name="coreai", target="coreai", missing=_missing, open=_open, interprets=True)
