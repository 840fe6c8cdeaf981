"""C compilers that build the runner, and the glibc that goes with it."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from android_harness import runtimes
from exporter import programs
from exporter.bundle.folder import hash_file
from exporter.errors import ExportError
from exporter.programs import Said

FOLDER = Path(__file__).parent
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
TRIPLES = {"arm64-v8a": "aarch64-linux-gnu", "x86_64": "x86_64-linux-gnu"}
INSTALL = {
    "arm64-v8a": "apt install gcc-aarch64-linux-gnu, or pip install ziglang",
    "x86_64": "apt install gcc, or pip install ziglang",
}
_ZIG_GLIBC = "2.28"
"""The oldest that the wheels' libraries ask for."""
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Compiler:
    """A command that builds for one ABI.

    Attributes:
        words: its first words.
        libraries: whether it has a glibc of its own that must go with what it builds (gcc); zig
            builds for an older one than any that we ship.
    """

    words: tuple[str, ...]
    libraries: bool

    def identity(self) -> str:
        """Identify it for a cache's key."""
        words = (Path(self.words[0]).name, *self.words[1:], self._ask("--version").splitlines()[0])
        return " ".join(words)

    def library(self, name: str) -> Path:
        """Find a library that goes with it. ExportError if it has none."""
        path = Path(self._ask(f"-print-file-name={name}").strip())
        if not path.is_absolute() or not path.is_file():
            raise ExportError(f"{self.words[0]} has no {name}: install its C and C++ libraries")
        return path.resolve()

    def build(self, output: Path, sources: Sequence[Path] = ()) -> None:
        """Compile and link; the runner's own sources if none are given.

        Raises:
            ExportError: with the compiler's first words.
        """
        files = sources or [path for path in runner_sources() if path.suffix == ".c"]
        words = [*self.words, *FLAGS, runtimes_flag(), "-o", str(output), *map(str, files), "-ldl"]
        done = self._run(words)
        if done.code != 0:
            lines = [line for line in done.err.splitlines() if "error" in line]
            reason = (lines or [done.err])[0][:300]
            raise ExportError(f"{self.words[0]} cannot build {output.name}: {reason}")

    def _ask(self, question: str) -> str:
        done = self._run([*self.words, question])
        if done.code != 0 or not done.out.strip():
            raise ExportError(f"{self.words[0]} does not answer {question}: {done.err[:200]}")
        return done.out

    def _run(self, words: list[str]) -> Said:
        try:
            return programs.run(words, deadline=_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ExportError(f"{words[0]} cannot be run: {error}") from None


def runner_sources() -> tuple[Path, ...]:
    """List every file that the runner is built from, headers too."""
    return tuple(sorted(FOLDER.glob("*.[ch]")))


def runtimes_flag() -> str:
    """Tells the C program its table of runtimes: one RUNTIME(NAME), and so one NAME.c, a row."""
    return f"-DRUNTIMES={' '.join(f'RUNTIME({r.name})' for r in runtimes.RUNTIMES)}"


def fingerprint() -> str:
    """Hash everything that decides the built runner: names, contents and flags."""
    parts = [(path.name, hash_file(path)) for path in runner_sources()]
    return hashlib.sha256(repr((parts, FLAGS, runtimes_flag())).encode()).hexdigest()


def find_compiler(abi: str) -> Compiler | None:
    """Find a gcc that builds for glibc on `abi`, else zig from its wheel, else None."""
    triple = TRIPLES[abi]
    cross = shutil.which(f"{triple}-gcc")
    if cross:
        return Compiler((cross,), libraries=True)
    own = shutil.which("gcc") if sys.platform == "linux" else None
    if own and _machine(own).startswith(triple.partition("-")[0]):
        return Compiler((own,), libraries=True)
    if importlib.util.find_spec("ziglang") is not None:
        words = (sys.executable, "-m", "ziglang", "cc", "-target", f"{triple}.{_ZIG_GLIBC}")
        return Compiler(words, libraries=False)
    return None


def _machine(compiler: str) -> str:
    try:
        done = programs.run([compiler, "-dumpmachine"], deadline=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.out.strip()
