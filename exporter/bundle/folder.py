"""A bundle on disk: written whole or not at all, and proved unchanged when it is opened.

`open_bundle` reads one; `seal` ends the writing of one (see `staging`). No torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exporter.bundle import damage, travel
from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.bundle.manifest import Manifest
from exporter.errors import BundleError

MANIFEST = "manifest.json"
LOG = "toolkit.log"


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
    if folder.suffix == ".mlpackage" or not path.is_file():  # Manifest.json, on a Mac's disk
        raise BundleError(travel.explain_no_bundle(folder))
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(_manifest_fault(path) or f"{path} cannot be read: {error}") from None
    except BundleError as error:
        raise BundleError(_manifest_fault(path) or f"{folder}: {error}") from None


def _manifest_fault(path: Path) -> str | None:
    """Say what git, an editor or a broken copy did to a manifest; None if nothing known."""
    try:
        fault = damage.explain_content(path, path.read_bytes())
    except OSError:
        return None
    return fault and f"{path} {fault}"


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
    expected = set(manifest.files)
    _verify_names(path, expected)
    for name, digest in sorted(manifest.files.items()):
        if hash_file(path / name) != digest:
            cause = damage.explain_change(path / name, digest)
            if cause is not None:
                raise BundleError(f"{path}: {name!r} {cause}")
    for graph in manifest.graphs:
        folder = f"{safe_path(graph.file).as_posix()}/"
        if not any(name == graph.file or name.startswith(folder) for name in expected):
            raise BundleError(f"{path} holds no file of graph {graph.spec.name!r} ({graph.file})")
    return Bundle(path, manifest)


def _verify_names(folder: Path, expected: set[str]) -> None:
    """BundleError if a file is missing, or there is one that is not the bundle's."""
    present = set(tree_files(folder, expected)) - {MANIFEST}
    missing, extra = expected - present, present - expected
    missing -= set(travel.opens_otherwise(folder, missing, extra))
    if missing:
        raise BundleError(travel.explain_missing(folder, min(missing), sorted(extra)))
    extra = {name for name in extra if not travel.is_listed_otherwise(name, expected)}
    if extra:
        raise BundleError(travel.explain_extra(folder, min(extra), expected))


def safe_path(name: str) -> PurePosixPath:
    """Parse a manifest's file name. BundleError if it is not plainly inside the bundle."""
    path = PurePosixPath(name)
    plain = name == path.as_posix() and not set(name) & {"\\", "\0", ":"}  # C:file on Windows
    if not plain or path.is_absolute() or not path.parts or ".." in path.parts:
        raise BundleError(f"manifest.json names {name!r}, which is not a path inside the bundle")
    return path


def tree_files(folder: Path, known: Iterable[str] = ()) -> tuple[str, ...]:
    """List every file below `folder` but traces of travelling, sorted posix paths.

    Args:
        folder: a bundle, or what becomes one.
        known: the manifest's files; none of them is a trace.

    Raises:
        BundleError: there is a link or a device.
    """
    files, known = [], set(known)
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name not in known and travel.is_harmless(name, known):
            continue
        if path.is_symlink():
            raise BundleError(travel.explain_link(folder, name))
        if path.is_dir():
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

    Writes `.gitattributes` too, which the manifest does not list: `cp BUNDLE/*` leaves it behind.

    Deletes the toolkit's log: it differs from run to run, and a good export needs none.
    """
    (folder / LOG).unlink(missing_ok=True)
    (folder / travel.ATTRIBUTES).write_bytes(travel.KEEP_BYTES.encode())
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
