"""Core AI's reference runtime, on Linux and macOS, in a process of its own.

It computes one value after another on one core: it shows that a file is right, and says nothing of
a phone's times. A damaged file may abort the process that opens it, so that is not ours.

Half arithmetic takes it a hundred times as long as float32. So a graph that sees an image and would
take more than a minute is computed in float32, on the weights that the file stores: it shows that
the file is right but for what a phone's half arithmetic adds. The engine `coreai-literal` computes
every graph as the file says, `coreai-float32` none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import shutil
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
from runtimes.engines import AGAIN, EngineKind
from runtimes.engines.aimodel import FLOAT32, LITERAL
from runtimes.engines.aimodel.talk import WIDENED, TalkError, ToolkitError, receive, send

SERVING = "runtimes.engines.aimodel.serving"
PROGRAM, HASH = "main.mlirb", "main.hash"
MOST_LITERAL = 2_000_000_000
"""Multiply-accumulates of a run that half arithmetic takes about a minute for: the demo's encoder,
0.33 billion, takes 9 s (`sam-export --target coreai`)."""


@dataclass(eq=False)
class CoreaiGraph:
    """A function that a process of its own has loaded; the process ends with this object.

    Attributes:
        arithmetic: `float32` if the file says half and it is computed in float32; else empty.
    """

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    path: Path
    arithmetic: str = ""

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
        """Wait for arrays.

        Raises:
            BundleError: there is an error, or no answer; with the reason.
            ImportError: the runtime itself does not load there.
        """
        try:
            outputs = receive(_pipe(self.process.stdout))
        except ToolkitError as error:
            raise ImportError(str(error)) from error
        except (TalkError, ValueError) as error:
            said = printable(str(error), 300)
            raise BundleError(f"Core AI cannot {what}: {said}; {AGAIN}") from error
        if outputs is None:
            raise BundleError(f"Core AI cannot {what}: {self._last_words()}")
        return outputs

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line]
        # An abort ends with words about the abort: what went wrong stands above them.
        told = next((line for line in lines if "error: " in line), lines[-1] if lines else "")
        said = f": {printable(told, 200)}" if told else ""
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        advice = "not enough memory?" if code == -signal.SIGKILL else AGAIN
        return f"its process {how}{said}; {advice}"


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the process was started without pipes")
    return stream


def _end(process: subprocess.Popen[bytes], errors: IO[bytes], files: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(files, ignore_errors=True)
    for stream in (process.stdin, process.stdout, errors):
        with contextlib.suppress(BrokenPipeError):  # what it never read
            _pipe(stream).close()


def require_sound(path: Path) -> None:
    """BundleError if the program is not the one whose hash stands beside it.

    On Linux the runtime does not compare them, and a program cut short aborts it.
    """
    try:
        program, written = (path / PROGRAM).read_bytes(), (path / HASH).read_bytes()
    except OSError as error:
        raise BundleError(f"{path} is no .aimodel: {error.strerror}; {AGAIN}") from None
    if hashlib.sha256(program).digest() != written:
        raise BundleError(f"{path}: {PROGRAM} was changed or cut short; {AGAIN}")


def missing() -> str | None:
    """Say what to install, or None if the runtime is there."""
    if importlib.util.find_spec("coreai") is None:
        return "pip install 'sam-export[run-coreai]'"
    return None


def open_graph(path: Path, graph: GraphFile, *, literal: bool) -> CoreaiGraph:
    """Load a function.

    Args:
        path: of the .aimodel.
        graph: that the function is.
        literal: compute half arithmetic as the file says, however long that takes.
    """
    require_sound(path)
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
    files = Path(tempfile.mkdtemp(prefix="sam-export-"))
    wanted = LITERAL if literal else FLOAT32
    process = subprocess.Popen(
        [sys.executable, "-m", SERVING, str(path.absolute()), graph.signature, wanted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=_environment(files),
    )
    loaded = CoreaiGraph(process, errors, path)
    weakref.finalize(loaded, _end, process, errors, files)
    widened = loaded.answer(f"load {path}")[WIDENED]
    if widened:
        loaded.arithmetic = FLOAT32
    return loaded


def _environment(files: Path) -> dict[str, str]:
    """Ours, with temporary files in a folder that outlives the process: it is killed in the end."""
    path = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"PYTHONPATH": path, "TMPDIR": str(files)}


def takes_long(graph: GraphFile) -> bool:
    """Whether half arithmetic takes more than a minute a run; a decoder counts as quick."""
    sees_image = any(tensor.name == "image" for tensor in graph.spec.inputs)
    return sees_image and (graph.multiply_accumulates or 0) > MOST_LITERAL


def _open(path: Path, graph: GraphFile, threads: int) -> CoreaiGraph:
    """Load a function; `threads` has no effect, since the runtime uses one core."""
    return open_graph(path, graph, literal=not takes_long(graph))


ENGINE = EngineKind(
    name="coreai",
    target="coreai",
    missing=missing,
    open=_open,
    interprets=True,
    reference=True,
    literal="coreai-literal",
    quick="coreai-float32",
)


def variant(name: str, *, literal: bool) -> EngineKind:
    """Make the engine that computes half arithmetic in one way, however long that takes."""

    def open_so(path: Path, graph: GraphFile, threads: int) -> CoreaiGraph:
        """Load a function; `threads` has no effect, since the runtime uses one core."""
        return open_graph(path, graph, literal=literal)

    return dataclasses.replace(ENGINE, name=name, open=open_so, literal="", quick="")
