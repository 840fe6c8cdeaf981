"""Write a bundle's folder whole or not at all, whoever else writes beside it.

claim_bundle(final)       hold the name; what killed exports of it left is cleared up
staging(claim)            a temporary folder that takes the name at the end
build_once(folder, ...)   a folder of a cache, made by the first process that needs it
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from exporter.bundle.claim import Claim, claim
from exporter.bundle.folder import LOG, hash_file
from exporter.bundle.manifest import MANIFEST
from exporter.errors import BundleError, ExportError, RequestError, SamExportError
from exporter.signals import uninterrupted

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@contextmanager
def claim_bundle(final: Path) -> Iterator[Claim]:
    """Hold a bundle's folder for this process until the block ends.

    Exports of other bundles into the same output folder are not disturbed.

    Args:
        final: the bundle's folder; its parent is made.

    Raises:
        RequestError: another export holds it (who, and since when), or the folder cannot be
            written.
        ExportError: the disk is full.
    """
    with ExitStack() as stack:
        try:
            missing = [f for f in (final.parent, *final.parent.parents) if not f.exists()]
            stack.callback(_remove_empty, missing)
            mine = stack.enter_context(claim(final, lambda holder: _is_made_by(final, holder)))
            clear_leftovers(final)
        except OSError as error:
            raise _unwritable(final.parent, error) from None
        yield mine


def _remove_empty(folders: list[Path]) -> None:
    """Take away folders that were made for nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _is_made_by(final: Path, holder: str) -> RequestError:
    return RequestError(
        f"{final} is being exported by {holder}: wait for its end, or choose another --output"
    )


def _unwritable(folder: Path, error: OSError) -> SamExportError:
    if error.errno in _FULL:
        return ExportError(f"no space left on {folder}: free some, or choose --output elsewhere")
    return RequestError(f"cannot write to {folder} ({error.strerror}): choose another --output")


@contextmanager
def staging(claimed: Claim, *, force: bool = False) -> Iterator[Path]:
    """Make a temporary folder that becomes the claimed one if the block succeeds, else is deleted.

    After a failure only a toolkit.log that the error names is left, in the temporary folder.

    Args:
        claimed: of the bundle's folder.
        force: replace the bundle that is already there; never anything but a bundle, and only the
            one that was there when the block began.

    Raises:
        RequestError: the folder is taken, or was while the block ran.
        ExportError: the disk is full, the folder cannot be written, or the claim was lost.
    """
    final = claimed.path
    replaced = _bundle_there(final, force=force)
    partial = _temporary(final, "partial")
    try:
        _prepare(partial)
        yield partial
        with uninterrupted():  # two renames, and the old bundle's removal: all or none
            _publish(partial, claimed, replaced)
    except BaseException as error:
        full = _disk_full(error, final, partial)
        lost = isinstance(error, Exception) and not claimed.held()
        with uninterrupted():
            _discard(partial, log_named=str(partial / LOG) in str(error))
        if full is not None:
            raise full from error
        if lost:
            raise _lost(claimed) from error
        raise


def build_once(
    final: Path,
    is_whole: Callable[[Path], bool],
    fill: Callable[[Path], None],
    waiting: Callable[[str], None],
) -> None:
    """Make a folder of a cache if it is not there; other processes wait, and take it as it is.

    Args:
        final: the folder.
        is_whole: whether it is there and good; else it is made anew.
        fill: puts its content into an empty folder.
        waiting: told who else makes it.

    Raises:
        OSError: it cannot be written; and whatever `fill` raises.
    """
    if is_whole(final):
        return
    with claim(final, waiting):
        clear_leftovers(final)
        if is_whole(final):
            return
        partial = _temporary(final, "partial")
        try:
            partial.mkdir()
            fill(partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _temporary(final: Path, kind: str) -> Path:
    """Make an unguessable name beside `final`: process numbers repeat in containers."""
    return final.with_name(f".{final.name}.{kind}-{secrets.token_hex(8)}")


def _bundle_there(final: Path, *, force: bool) -> str:
    """Hash of the manifest of the bundle to be replaced; empty if there is none."""
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise RequestError(f"{final} is not a folder: choose another --output")
    if not final.exists() or not any(final.iterdir()):
        return ""
    if not (final / MANIFEST).is_file():
        raise RequestError(f"{final} holds files that are not a bundle: choose another --output")
    if not force:
        raise RequestError(f"{final} exists: give --force to replace it, or another --output")
    return hash_file(final / MANIFEST)


def _prepare(partial: Path) -> None:
    try:
        partial.mkdir()
    except OSError as error:
        if error.errno in _FULL:
            raise
        raise _unwritable(partial.parent, error) from None


def _publish(partial: Path, claimed: Claim, replaced: str) -> None:
    """Rename `partial` to the claimed name; fails if anything else took that name meanwhile."""
    final = claimed.path
    if not claimed.held():
        raise _lost(claimed)
    if replaced:
        _replace(partial, final, replaced)
        return
    with suppress(OSError):
        final.rmdir()  # an empty folder is free, and Windows renames onto none
    try:
        partial.rename(final)
    except OSError as error:
        if error.errno in _TAKEN:
            raise RequestError(
                f"{final} appeared while this export ran, and was left as it is: give --force to "
                "replace it, or choose another --output"
            ) from error
        raise _immovable(final, error) from error


def _replace(partial: Path, final: Path, replaced: str) -> None:
    """Move the old bundle aside, and restore it on failure or if it is not that of the hash."""
    aside = _temporary(final, "old")
    try:
        final.rename(aside)
        if _manifest_hash(aside) != replaced:
            raise RequestError(
                f"{final} changed while this export ran, and was left as it is: run it again, or "
                "choose another --output"
            )
        partial.rename(final)
    except OSError as error:
        raise _immovable(final, error) from error
    finally:
        if aside.exists() and not final.exists():
            aside.rename(final)
    shutil.rmtree(aside, ignore_errors=True)


def _manifest_hash(folder: Path) -> str:
    try:
        return hash_file(folder / MANIFEST)
    except BundleError:
        return ""


def _immovable(final: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot move the bundle to {final}: {error.strerror}")


def _lost(claimed: Claim) -> ExportError:
    return ExportError(
        f"{claimed.path} was given to another export, or {claimed.lock.name} was deleted, while "
        "this one slept or ran; nothing was written: run it again"
    )


def _discard(partial: Path, *, log_named: bool) -> None:
    """Delete everything but a log that an error names."""
    log = partial / LOG
    if not (log_named and log.is_file()):
        shutil.rmtree(partial, ignore_errors=True)
        return
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path != log:
            with suppress(OSError):
                path.unlink()


def clear_leftovers(final: Path) -> None:
    """Delete what killed makers of this folder left; restore one that they had moved aside.

    Whoever holds the claim is alone, so every such folder is left over.
    """
    pattern = re.compile(re.escape(f".{final.name}.") + r"(partial|old)-[0-9a-f]+")
    for path in sorted(final.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        if match[1] == "old" and not final.exists():
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _disk_full(error: BaseException | None, final: Path, partial: Path) -> ExportError | None:
    """Make the error for a full disk, found anywhere in the chain of causes; else None."""
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
