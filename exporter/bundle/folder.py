"""A bundle on disk: written whole or not at all, and proved unchanged when it is opened.

`open_bundle` reads one; `staging` and `seal` write one. No torch.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from exporter.bundle.agreement import graph_files, safe_path
from exporter.bundle.goldens import GOLDENS, Goldens
from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.signing import SIGNATURE, Signer, Verifier, read_signature
from exporter.errors import BundleError, ExportError, RequestError

MOST_BYTES = 4 * 2**20
"""Of a manifest; the largest here has 12 KB."""
BESIDE = frozenset({MANIFEST, SIGNATURE})
"""What a manifest does not list."""
LOG = "toolkit.log"
# Finder drops this into any folder it shows; any other extra file makes a bundle invalid.
IGNORED = frozenset({".DS_Store"})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


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


@contextmanager
def staging(final: Path, *, force: bool = False) -> Iterator[Path]:
    """Make a temporary folder that becomes `final` if the block succeeds, else is deleted.

    After a failure only a toolkit.log that is not empty is left, in the temporary folder.

    Args:
        final: the bundle's folder.
        force: replace the bundle that is already there; never anything but a bundle.

    Raises:
        RequestError: `final` is taken.
        ExportError: the disk is full, or the folder cannot be written.
    """
    _recover(final)
    _check_free(final, force=force)
    partial = _sibling(final, "partial")
    try:
        _prepare(final, partial)
        yield partial
        _publish(partial, final)
    except BaseException as error:
        full = _disk_full(error, final, partial)
        _discard(partial)
        if full is not None:
            raise full from error
        raise


def _prepare(final: Path, partial: Path) -> None:
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise RequestError(
            f"cannot write to {final.parent} ({error.strerror}): choose another --output"
        ) from None


def _publish(partial: Path, final: Path) -> None:
    """Rename `partial` to `final`; an old bundle is moved aside and restored on failure."""
    aside = _sibling(final, "old")
    replaces = final.exists()
    try:
        if replaces:
            final.rename(aside)
        partial.rename(final)
    except OSError as error:
        raise ExportError(f"cannot move the bundle to {final}: {error.strerror}") from error
    finally:
        if replaces and aside.exists() and not final.exists():
            aside.rename(final)
    shutil.rmtree(aside, ignore_errors=True)


def _check_free(final: Path, *, force: bool) -> None:
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise RequestError(f"{final} is not a folder: choose another --output")
    if not final.exists() or not any(final.iterdir()):
        return
    if not (final / MANIFEST).is_file():
        raise RequestError(f"{final} holds files that are not a bundle: choose another --output")
    if not force:
        raise RequestError(f"{final} exists: give --force to replace it, or another --output")


def _discard(partial: Path) -> None:
    """Delete everything but a log that is not empty."""
    log = partial / LOG
    if not (log.is_file() and log.stat().st_size):
        shutil.rmtree(partial, ignore_errors=True)
        return
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path != log:
            with suppress(OSError):
                path.unlink()


def _sibling(final: Path, kind: str) -> Path:
    return final.with_name(f".{final.name}.{kind}-{os.getpid()}")


def _recover(final: Path) -> None:
    """Clean up after killed exports of this name; restore a bundle that they had moved aside."""
    if not final.parent.is_dir():
        return
    pattern = re.compile(re.escape(f".{final.name}.") + r"(partial|old)-(\d+)")
    for path in sorted(final.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or _alive(int(match[2])):
            continue
        if match[1] == "old" and not final.exists():
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # our own leftover: one process exports one bundle at a time
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _disk_full(error: BaseException | None, final: Path, partial: Path) -> ExportError | None:
    """The error for a full disk, found anywhere in the chain of causes; else None."""
    chain = list[BaseException]()
    while error is not None and not (isinstance(error, OSError) and error.errno in _FULL):
        chain.append(error)
        cause = error.__cause__ or error.__context__
        error = cause if cause not in chain else None  # an error raised again may cause itself
    if error is None:
        return None
    where = Path(error.filename).parent if isinstance(error.filename, str) else final.parent
    where = final.parent if where.is_relative_to(partial) else where
    written = sum(p.stat().st_size for p in partial.rglob("*") if p.is_file()) // 2**20
    return ExportError(
        f"no space left on {where}: {written} MB of the bundle were written and more is needed, "
        f"free {2 * written + 100} MB or choose --output elsewhere"
    )
