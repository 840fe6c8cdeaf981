"""A bundle on disk: written whole or not at all, and proved unchanged when it is opened.

`open_bundle` reads one; `seal` ends the writing of one (see `staging`). No torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.bundle.manifest import Manifest
from exporter.errors import BundleError

MANIFEST = "manifest.json"
LOG = "toolkit.log"
# Finder drops this into any folder it shows; any other extra file makes a bundle invalid.
IGNORED = frozenset({".DS_Store"})


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder and its manifest."""

    path: Path
    manifest: Manifest

    def file(self, graph_name: str) -> Path:
        """Path of a lowered graph, a folder for an .mlpackage. BundleError if there is none."""
        return self.path / safe_path(self.manifest.graph(graph_name).file)

    def goldens(self) -> Goldens:
        """Open the seeded inputs and float32 torch outputs. BundleError if unreadable."""
        return Goldens.open(self.path / GOLDENS)


def read_manifest(folder: Path) -> Manifest:
    """Parse `manifest.json` without verifying any file. BundleError if it cannot be parsed."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None


def open_bundle(path: Path | str) -> Bundle:
    """Read a bundle and verify every file against its hash.

    Args:
        path: the bundle's folder.

    Raises:
        BundleError: no manifest or not a valid one; a file that is missing, extra or changed; a
            path that leaves the folder; a symbolic link.
    """
    path = Path(path)
    manifest = read_manifest(path)
    for name in manifest.files:
        safe_path(name)
    present, expected = set(tree_files(path)) - {MANIFEST}, set(manifest.files)
    missing, extra = expected - present, present - expected
    for problem, names in (("is missing", missing), ("has an extra", extra)):
        if names:
            raise BundleError(f"{path} {problem} file {min(names)!r}; {_AGAIN}")
    for name, digest in sorted(manifest.files.items()):
        if hash_file(path / name) != digest:
            raise BundleError(f"{path}: {name!r} was changed after the export; {_AGAIN}")
    for graph in manifest.graphs:
        folder = f"{safe_path(graph.file).as_posix()}/"
        if not any(name == graph.file or name.startswith(folder) for name in expected):
            raise BundleError(f"{path} holds no file of graph {graph.spec.name!r} ({graph.file})")
    return Bundle(path, manifest)


_AGAIN = "copy or export the bundle again"


def safe_path(name: str) -> PurePosixPath:
    """Parse a manifest's file name. BundleError if it is not plainly inside the bundle."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and not set(name) & {"\\", "\0", ":"}  # C:file on Windows
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise BundleError(f"manifest.json names {name!r}, which is not a path inside the bundle")
    return path


def tree_files(folder: Path) -> tuple[str, ...]:
    """List every file below `folder`, sorted posix paths. BundleError at a link or a device."""
    files = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BundleError(f"{folder}: {name!r} is a symbolic link; a bundle holds plain files")
        if path.is_dir() or path.name in IGNORED:
            continue
        if not path.is_file():
            raise BundleError(f"{folder}: {name!r} is not a plain file")
        files.append(name)
    return tuple(sorted(files))


def hash_file(path: Path) -> str:
    """Hash a file: its sha256 in hex. BundleError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file and write `manifest.json`; returns the written manifest.

    Deletes the toolkit's log: it differs from run to run, and a good export needs none.
    """
    (folder / LOG).unlink(missing_ok=True)
    names = [name for name in tree_files(folder) if name != MANIFEST]
    sealed = dataclasses.replace(manifest, files={n: hash_file(folder / n) for n in names})
    temporary = folder / f".{MANIFEST}.partial"
    temporary.write_text(sealed.to_json(), encoding="utf-8")
    temporary.replace(folder / MANIFEST)
    return sealed


def same_job(a: Manifest, b: Manifest) -> bool:
    """Whether two manifests agree in everything known before lowering."""
    return _job_of(a) == _job_of(b)


def _job_of(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, graphs=(), parity=(), files={}, created="")
