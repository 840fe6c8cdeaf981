"""A bundle on disk: written whole or not at all, and proved unchanged when it is opened.

`open_bundle` reads one; `seal` ends the writing of one (see `staging`). No torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle.agreement import graph_files, safe_path
from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.signing import SIGNATURE, Signer, Verifier, read_signature
from exporter.errors import BundleError, RequestError

MOST_BYTES = 4 * 2**20
"""Of a manifest; the largest here has 12 KB."""
BESIDE = frozenset({MANIFEST, SIGNATURE})
"""What a manifest does not list."""
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
        specs = [graph.spec for graph in self.manifest.graphs]
        return Goldens.open(self.path / GOLDENS, specs)


def read_manifest(folder: Path) -> Manifest:
    """Parse `manifest.json` without verifying any file. BundleError if it cannot be parsed."""
    return _parse(folder, read_content(folder))


def read_content(folder: Path) -> bytes:
    """Read a manifest's bytes. BundleError if there are none, or too many."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise BundleError(f"{path} has more than {MOST_BYTES >> 20} MB: it is no manifest")
    return content


def _parse(folder: Path, content: bytes) -> Manifest:
    try:
        return Manifest.from_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read: {error}") from None
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from None


def open_bundle(path: Path | str, verify_key: Path | str | None = None) -> Bundle:
    """Read a bundle and verify every file against its hash.

    Args:
        path: the bundle's folder.
        verify_key: a public key, whose signature the manifest must have; None for any or none.

    Raises:
        RequestError: the key cannot be used.
        BundleError: no signature of that key; no manifest or not a valid one; a file that is
            missing, extra or changed; a path that leaves the folder; a symbolic link.
    """
    path = Path(path)
    verifier = None if verify_key is None else Verifier.load(Path(verify_key))
    content = read_content(path)
    if verifier is not None:
        verifier.check(path, content)
    manifest = _parse(path, content)
    present, expected = set(tree_files(path)) - BESIDE, set(manifest.files)
    missing, extra = expected - present, present - expected
    for problem, names in (("is missing", missing), ("has an extra", extra)):
        if names:
            raise BundleError(f"{path} {problem} file {min(names)!r}; {_AGAIN}")
    for name, digest in sorted(manifest.files.items()):
        if hash_file(path / name) != digest:
            raise BundleError(f"{path}: {name!r} was changed after the export; {_AGAIN}")
    for graph in manifest.graphs:
        size = sum(_size(path / name) for name in graph_files(manifest, graph))
        if size != graph.bytes:
            raise BundleError(
                f"{path}: {graph.file} has {size} bytes, and the manifest says {graph.bytes}; "
                f"{_AGAIN}"
            )
    return Bundle(path, manifest)


_AGAIN = "copy or export the bundle again"


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


def _size(file: Path) -> int:
    """Bytes of a file, line ends of JSON counted once: git may have made them CRLF."""
    twice = file.read_bytes().count(b"\r\n") if file.suffix == ".json" else 0
    return file.stat().st_size - twice


def hash_file(path: Path) -> str:
    """Hash a file: its sha256 in hex. BundleError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None


def seal(folder: Path, manifest: Manifest, signer: Signer | None = None) -> Manifest:
    """Hash every file and write `manifest.json`, signed if asked; returns the written manifest.

    Deletes the toolkit's log: it differs from run to run, and a good export needs none.
    """
    (folder / LOG).unlink(missing_ok=True)
    names = [name for name in tree_files(folder) if name not in BESIDE]
    sealed = dataclasses.replace(manifest, files={n: hash_file(folder / n) for n in names})
    (folder / SIGNATURE).unlink(missing_ok=True)
    content = sealed.to_json().encode()
    _replace(folder / MANIFEST, content)
    if signer is not None:
        _replace(folder / SIGNATURE, signer.sign(content))
    return sealed


def sign(folder: Path, signer: Signer) -> None:
    """Sign a finished bundle that has no signature yet.

    Raises:
        RequestError: another key has signed it; or it cannot be written to.
    """
    content = read_content(folder)
    if (folder / SIGNATURE).exists():
        if read_signature(folder) != signer.raw(content):
            raise RequestError(
                f"{folder} is signed by another key: give --force to make and sign it anew, or "
                "another --output"
            )
        return
    try:
        _replace(folder / SIGNATURE, signer.sign(content))
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}") from None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(content)
    temporary.replace(path)


def same_job(a: Manifest, b: Manifest) -> bool:
    """Whether two manifests agree in everything known before lowering."""
    return _job_of(a) == _job_of(b)


def _job_of(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, graphs=(), parity=(), files={}, created="")
