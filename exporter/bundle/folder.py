"""A bundle on disk: written whole or not at all, and proved unchanged when it is opened.

`open_bundle` reads one; `seal` ends the writing of one (see `staging`). No torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from exporter.bundle import damage, travel
from exporter.bundle.agreement import graph_files, safe_path
from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.signing import SIGNATURE, Signer, Verifier, read_signature
from exporter.errors import BundleError, RequestError
from exporter.printable import printable, quote

MOST_BYTES = 4 * 2**20
"""Of a manifest; the largest here has 12 KB."""
PAGE = "README.md"
"""Says to a reader what the bundle is; nothing loads it."""
APP_CODE = ("swift", "kotlin")
"""Folders with the source that an app runs the bundle with, and what was built of it."""
BESIDE = frozenset({MANIFEST, SIGNATURE, PAGE})
"""What a manifest does not list."""
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
        specs = [graph.spec for graph in self.manifest.graphs]
        return Goldens.open(self.path / GOLDENS, specs)


def read_manifest(folder: Path) -> Manifest:
    """Parse `manifest.json` without verifying any file. BundleError if it cannot be parsed."""
    return _parse(folder, read_content(folder))


def read_content(folder: Path) -> bytes:
    """Read a manifest's bytes. BundleError if there are none, or too many."""
    path = folder / MANIFEST
    try:
        # Of a package on a Mac's disk it would be Manifest.json.
        found = folder.suffix != ".mlpackage" and path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise BundleError(f"{printable(str(path))} cannot be read: {error.strerror}") from None
    if not found:
        raise BundleError(travel.explain_no_bundle(folder))
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise BundleError(f"{path} has more than {MOST_BYTES >> 20} MB: it is no manifest")
    return content


def _parse(folder: Path, content: bytes) -> Manifest:
    path = folder / MANIFEST
    try:
        return Manifest.from_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BundleError(_fault(path, content) or f"{path} cannot be read: {error}") from None
    except BundleError as error:
        raise BundleError(_fault(path, content) or f"{folder}: {error}") from None


def _fault(path: Path, content: bytes) -> str | None:
    """Say what git, an editor or a broken copy did to a manifest; None if nothing known."""
    fault = damage.explain_content(path, content)
    return fault and f"{path} {fault}"


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
    path = _given("open_bundle", path)
    verifier = None if verify_key is None else Verifier.load(_given("verify_key", verify_key))
    content = read_content(path)
    if verifier is not None:
        verifier.check(path, content)
    manifest = _parse(path, content)
    expected = set(manifest.files)
    _verify_names(path, expected)
    respelt = _verify_hashes(path, manifest)
    for graph in manifest.graphs:
        names = graph_files(manifest, graph)
        size = sum((path / name).stat().st_size for name in names)
        said = sum(each.bytes for each in manifest.graphs if each.file == graph.file)
        if size != said and not respelt.intersection(names):
            raise BundleError(
                f"{path}: {graph.file} has {size} bytes, and the manifest says {said}; "
                f"{travel.AGAIN}"
            )
    return Bundle(path, manifest)


def _given(what: str, path: object) -> Path:
    """Make a path of what a caller gave. RequestError if it is none."""
    if not isinstance(path, str | os.PathLike):
        hint = "; it is open already" if isinstance(path, Bundle) else ""
        raise RequestError(f"{what} takes a path, as a str or a Path, not {quote(path)}{hint}")
    return Path(path)


def _verify_names(folder: Path, expected: set[str]) -> None:
    """BundleError if a file is missing, or there is one that is not the bundle's."""
    present = set(tree_files(folder, expected)) - BESIDE
    missing, extra = expected - present, present - expected
    missing -= set(travel.opens_otherwise(folder, missing, extra))
    if missing:
        raise BundleError(travel.explain_missing(folder, min(missing), sorted(extra)))
    extra -= travel.listed_otherwise(extra, expected)
    if extra:
        raise BundleError(travel.explain_extra(folder, min(extra), expected))


def _verify_hashes(folder: Path, manifest: Manifest) -> set[str]:
    """Find files that only their spelling tells from the export's; BundleError for any other."""
    respelt = set()
    for name, digest in sorted(manifest.files.items()):
        if hash_file(folder / name) != digest:
            cause = damage.explain_change(folder / name, digest)
            if cause is not None:
                raise BundleError(f"{folder}: {name!r} {cause}")
            respelt.add(name)
    return respelt


def tree_files(folder: Path, known: Iterable[str] = ()) -> tuple[str, ...]:
    """List every file below `folder` but traces of travelling and the app's code, sorted.

    Paths are posix.

    Args:
        folder: a bundle, or what becomes one.
        known: the manifest's files; none of them is a trace.

    Raises:
        BundleError: there is a link or a device.
    """
    files, known = [], set(known)
    ours = {PurePosixPath(name).name for name in known}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name not in known and (travel.is_harmless(name, ours) or _is_app_code(name)):
            continue
        if path.is_symlink():
            raise BundleError(travel.explain_link(folder, name))
        if path.is_dir():
            continue
        if not path.is_file():
            raise BundleError(f"{folder}: {name!r} is not a plain file")
        files.append(name)
    return tuple(sorted(files))


def _is_app_code(name: str) -> bool:
    """Whether a file stands in the source beside a bundle, or among what was built of it."""
    top, _, rest = name.partition("/")
    return top in APP_CODE and bool(rest)


def hash_file(path: Path) -> str:
    """Hash a file: its sha256 in hex. BundleError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None


def seal(folder: Path, manifest: Manifest, signer: Signer | None = None) -> Manifest:
    """Hash every file and write `manifest.json`, signed if asked; returns the written manifest.

    Writes `.gitattributes` too, which the manifest does not list: `cp BUNDLE/*` leaves it behind.

    Deletes the toolkit's log: it differs from run to run, and a good export needs none.
    """
    (folder / LOG).unlink(missing_ok=True)
    (folder / travel.ATTRIBUTES).write_bytes(travel.KEEP_BYTES.encode())
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
    """Tell whether two manifests agree in everything known before lowering."""
    return _job_of(a) == _job_of(b)


def _job_of(manifest: Manifest) -> Manifest:
    known = dataclasses.replace(manifest, graphs=(), parity=(), files={}, created="", runs_in={})
    judged = known.evaluation and dataclasses.replace(known.evaluation, figures=())
    return dataclasses.replace(known, degraded=False, evaluation=judged)
