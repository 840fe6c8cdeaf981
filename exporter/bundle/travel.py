"""A bundle's names on their way: git, archives, sync programs, other file systems.

Harmless traces are let through. A fault is told by its cause, with the command that mends it;
`exporter.bundle.damage` does the same for the content of files.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Set
from pathlib import Path, PurePosixPath

from exporter.closest import missing

MANIFEST = "manifest.json"
ATTRIBUTES = ".gitattributes"
KEEP_BYTES = "* -text\n"
"""Content of a bundle's `.gitattributes`: git changes no line end in it, on any system."""
AGAIN = "copy or export the bundle again"

_HARMLESS = re.compile(
    r"\.DS_Store|\._.*|__MACOSX|\.AppleDouble|Icon\r|\.localized|\.fseventsd|\.Spotlight-V100"
    r"|\.TemporaryItems|\.Trash(es|-\d+)|Thumbs\.db|ehthumbs\.db|desktop\.ini|\.directory|@eaDir"
    r"|\.git(attributes|ignore|keep)?|\.hg|\.svn|\.stfolder.*|\.stignore|\.stversions|\.sync"
    r"|\.dropbox(\.attr|\.cache)?|\.nfs[0-9a-f]+|\.fuse_hidden.*|\.goutputstream-.*|\.~lock\..*#"
    r"|\.~tmp~|\.rsync-partial|.*~|.*\.tmp",
    re.IGNORECASE,
)
"""Names that file managers, version control, sync programs, network file systems and rsync leave
beside files. Whatever they hold: nothing loads it."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".zst", ".7z", ".rar")
_UNFINISHED = (".zip", ".gz", ".part", ".partial", ".crdownload", ".download", ".dvc", ".!sync")
_COPY_MARK = re.compile(
    r"( \(\d+\)| \([^)]*conflict[^)]*\)|\.sync-conflict-[\w-]+| copy( \d+)?| - Copy( \(\d+\))?)"
    r"(?=\.[^.]*$|$)"
)
_BACKUP = re.compile(r"\.(orig|bak|backup|old|rej|swp|BASE|LOCAL|REMOTE|lnk)$")


def is_harmless(name: str, known: Set[str] = frozenset()) -> bool:
    """Tell whether a file is a trace of travelling that no app looks at.

    Args:
        name: posix, relative to the bundle.
        known: names of the bundle's files without their folders, for names that are made of
            theirs (`.NAME.Ab12Cd`: rsync's).
    """
    path = PurePosixPath(name)
    if any(_HARMLESS.fullmatch(part) for part in path.parts):
        return True
    original = re.sub(r"^\.(.+)\.\w{6}$", r"\1", path.name)
    return original != path.name and original in known


def explain_no_bundle(path: Path) -> str:
    """Say what `path` is instead of a bundle, and what to give or do."""
    inside = next((p for p in path.absolute().parents if (p / MANIFEST).is_file()), None)
    if path.name == MANIFEST and path.is_file():
        return f"{path} is the manifest: give its folder, {_quote(path.parent)}"
    if inside is not None and path.exists():
        return f"{path} is part of a bundle: give the bundle, {_quote(inside)}"
    if not path.is_dir():
        return _explain_file(path)
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}): {_readable(path)}"
    return _explain_folder(path, names)


def _explain_folder(path: Path, names: list[str]) -> str:
    found = [path / name for name in names if (path / name / MANIFEST).is_file()]
    if len(found) == 1:
        return f"{path} holds the bundle one folder deeper: give {_quote(found[0])}"
    if found:
        shown = ", ".join(folder.name for folder in found[:6])
        return f"{path} holds {len(found)} bundles ({shown}): give one of them"
    if path.suffix == ".mlpackage":
        return f"{path} is a Core ML package, not a bundle: give the folder that has {MANIFEST}"
    cause = _explain_misnamed(path, MANIFEST, names) or _explain_unfinished(path / MANIFEST)
    return f"{_no_bundle(path)}{f': {cause}' if cause else ''}"


def _explain_file(path: Path) -> str:
    if not path.exists():
        said = missing(path)
        gone = said == "missing"
        return f"{_no_bundle(path)} (there is no such folder)" if gone else f"{path} is {said}"
    if path.name.lower().endswith(_ARCHIVES):
        unpack = "unzip" if path.suffix.lower() == ".zip" else "tar -xf"
        return f"{path} is an archive: {unpack} {_quote(path)}, and give the folder"
    return f"{_no_bundle(path)}, for it is a file: give the bundle's folder"


def _no_bundle(path: Path) -> str:
    return f"{path} is not a bundle: it has no {MANIFEST}"


def explain_missing(folder: Path, name: str, extra: Iterable[str]) -> str:
    """Say why a file of the manifest is not there.

    Args:
        folder: the bundle.
        name: the missing file's, posix.
        extra: files that are there and that the manifest does not list.
    """
    path = folder / name
    start = f"{folder} is missing file {name!r}"
    cause = _explain_misnamed(folder, name, extra) or _explain_closed(path, folder)
    cause = cause or _explain_unfinished(path)
    if cause is not None:
        return f"{start}: {cause}"
    if any((parent / ".git").exists() for parent in folder.absolute().parents):
        return (
            f"{start}: git checkout -- {_quote(path)}; if git does not have it, it was ignored "
            f"(git check-ignore -v {_quote(path)}): git add -f it where it is; or {AGAIN}"
        )
    return f"{start}; {AGAIN}"


def explain_extra(folder: Path, name: str, known: Iterable[str]) -> str:
    """Say what a file is that the manifest does not list, and how to remove it."""
    start, remove = f"{folder} has an extra file {name!r}", f"rm {_quote(folder / name)}"
    place = PurePosixPath(name)
    original = str(place.with_name(_COPY_MARK.sub("", _BACKUP.sub("", place.name)) or place.name))
    if original in set(known):
        return f"{start}, a copy of {original!r} that a sync program or an editor left: {remove}"
    top = place.parts[0]
    if len(place.parts) > 1 and not any(other.startswith(f"{top}/") for other in known):
        return f"{start}; if {top!r} is yours, keep it elsewhere; else {AGAIN}"
    return f"{start}; if it is yours, keep it elsewhere, else {remove}; or {AGAIN}"


def explain_link(folder: Path, name: str) -> str:
    """Say what to do about a symbolic link: it may lead anywhere, so it is never followed."""
    start = f"{folder}: {name!r} is a symbolic link; a bundle holds plain files"
    if "annex/objects" in (folder / name).readlink().as_posix():
        return f"{start}: git annex unlock {_quote(folder / name)}"
    return f"{start}: cp -RL {_quote(folder)} COPY, and use the copy"


def opens_otherwise(folder: Path, names: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """Find names that open although they are listed in another case or Unicode form.

    So it is on the usual file systems of macOS and Windows.
    """
    listed = {_fold(other) for other in others}
    return (name for name in names if _fold(name) in listed and (folder / name).is_file())


def listed_otherwise(names: Iterable[str], others: Iterable[str]) -> set[str]:
    """Find names that are one of the others in another case or Unicode form."""
    listed = {_fold(other) for other in others}
    return {name for name in names if _fold(name) in listed}


def _explain_misnamed(folder: Path, name: str, present: Iterable[str]) -> str | None:
    """Find the file that was `name` before a file system or an archive spelt it otherwise."""
    for other in present:
        if other != name and _fold(other) == _fold(name):
            return (
                f"it is called {other!r} here: mv {_quote(folder / other)} {_quote(folder / name)}"
            )
        if other != name and other.replace("\\", "/") == name:
            return f"it is called {other!r} here, so the archive's folders are lost: 7z x ARCHIVE"
    return None


def _explain_closed(path: Path, folder: Path) -> str | None:
    """Find the folder above a file that may not be read."""
    for parent in path.parents:
        inside = parent.is_relative_to(folder) and parent.is_dir()
        if inside and not os.access(parent, os.R_OK | os.X_OK):
            return f"{parent} cannot be read: {_readable(parent)}"
    return None


def _explain_unfinished(path: Path) -> str | None:
    """Find a file's placeholder, or its packed or half downloaded form."""
    if path.with_name(f".{path.name}.icloud").is_file():
        return f"iCloud has not downloaded it: brctl download {_quote(path)}"
    for suffix in _UNFINISHED:
        other = path.with_name(path.name + suffix)
        if other.exists():
            return f"there is only {other.name!r}: unpack it, or finish the download"
    return None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _readable(path: Path) -> str:
    return f"chmod -R u+rX {_quote(path)}"


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
