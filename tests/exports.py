"""The demo model's bundles as `sam-export` makes them: each form once a session, for all tests."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.bundle.folder import Bundle, open_bundle
from exporter.cli import main


class Exports:
    """A folder of bundles that the workers of a session share; who damages one copies it first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def weights(self) -> Path:
        """A copy of the embedded file, which may be replaced while the tests run."""
        from exporter.demo.network import WEIGHTS  # torch: not before a worker has its threads

        copy = self._folder / WEIGHTS.name
        with _alone(copy):
            if not copy.exists():
                shutil.copy(WEIGHTS, copy)
        return copy

    def bundle(self, target: str, precision: str) -> Bundle:
        """The default form of the demo model, made by whoever asks first."""
        form = f"demo-{target}-{precision}"
        bundle = self._folder / form / form
        argv = ["--target", target, "--precision", precision, "--quiet"]
        argv += ["--checkpoint", str(self.weights()), "--output", str(bundle.parent)]
        with _alone(bundle.parent):
            if not bundle.exists():
                assert main(argv) == 0
        return open_bundle(bundle)

    def all_targets(self, precision: str) -> list[Bundle]:
        """The default form for every target, made in one run: pictures are recorded once."""
        folder = self._folder / f"demo-all-{precision}"
        argv = ["--target", "all", "--precision", precision, "--quiet"]
        argv += ["--checkpoint", str(self.weights()), "--output", str(folder)]
        with _alone(folder):
            if not folder.exists():
                assert main(argv) == 0
        return [open_bundle(each) for each in sorted(folder.glob("demo-*"))]

    def check(self) -> None:
        """BundleError if a test changed one."""
        for bundle in self._folder.glob("*/demo-*"):
            open_bundle(bundle)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the other workers back."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
