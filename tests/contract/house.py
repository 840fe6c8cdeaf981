"""A copy of the code that a test may add files to, run as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("exporter", "runtimes", "android_harness", "ios_harness", "profiles")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "results", "lab")


@dataclass(frozen=True)
class House:
    """The copy; nothing in it is written to but by `add` and `edit`."""

    root: Path

    def add(self, path: str, text: str) -> None:
        """A new file; it must not be there yet."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x") as stream:
            stream.write(text)

    def insert(self, path: str, before: str, text: str) -> None:
        """A row of a table."""
        file = self.root / path
        kept = file.read_text()
        assert kept.count(before) == 1
        file.write_text(kept.replace(before, text + before))

    def run(self, module: str, *words: object) -> subprocess.CompletedProcess[str]:
        """`python -m MODULE WORDS` with the copy's code."""
        path = os.pathsep.join([str(self.root), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            capture_output=True,
            text=True,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": path},
            check=False,
        )


def build_house(root: Path) -> House:
    """In `root`, which is empty."""
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=_LEFT_OUT)
    return House(root)
