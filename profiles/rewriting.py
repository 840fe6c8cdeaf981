"""Change profiles of a store where they stand: all or none, and the old file is kept beside."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.errors import RequestError
from exporter.progress import Progress, silent
from profiles import kinds
from profiles.lines import Line, lines_of
from profiles.schema import Profile, parse_profile
from profiles.store import Store, sync_folder, write_whole


@dataclass(frozen=True)
class Rewriting:
    """What was changed.

    Attributes:
        changed: each profile before and after.
        total: profiles that were looked at.
        kept: the file as it was; None if it was not rewritten.
    """

    changed: tuple[tuple[Profile, Profile], ...]
    total: int
    kept: Path | None


def reclassed(profile: Profile) -> Profile:
    """Copy a measurement with its device in the class that its facts prove by today's rules."""
    before = profile.repeats[0].before if profile.repeats else None
    found, reason = kinds.class_of(profile.device, before)
    if found == profile.device.device_class:
        return profile
    return replace(profile, device=replace(profile.device, device_class=found, class_reason=reason))


def rewrite(
    store: Store,
    change: Callable[[Profile], Profile],
    report: Progress = silent,
    *,
    only_look: bool = False,
) -> Rewriting:
    """Put other profiles in place of those that `change` changes; every other line stays.

    Args:
        store: it is locked meanwhile; who waits to append does so to the new file.
        change: a profile -> what takes its place, or the same.
        report: told of lines of another release; they stay. Damaged ones go to STORE.torn.
        only_look: write nothing.

    Raises:
        RequestError: there is no store.
        ExportError: it could not be written; then it is as it was.
    """
    if not store.path.exists():
        store.read()  # says that there is none
    with store.writing(report):
        with store.path.open("rb") as stream:
            lines = list(lines_of(stream))
        pairs = [_pair(line, change, f"{store.path} line {line.number}", report) for line in lines]
        changed = tuple((a, b) for a, b in filter(None, pairs) if a != b)
        fresh = [
            pair[1].to_line().encode() if pair and pair[0] != pair[1] else line.data
            for line, pair in zip(lines, pairs, strict=True)
        ]
        writes = bool(changed) and not only_look
        kept = _put_in_place(store.path, b"".join(fresh)) if writes else None
    return Rewriting(changed, sum(pair is not None for pair in pairs), kept)


def _pair(
    line: Line, change: Callable[[Profile], Profile], where: str, report: Progress
) -> tuple[Profile, Profile] | None:
    """Parse a line's profile, and make its replacement; None if the line holds none."""
    try:
        profile = parse_profile(line.text(where), where)
    except RequestError as error:
        report(f"{error}; it was left as it is")
        return None
    return profile, change(profile)


def _put_in_place(path: Path, content: bytes) -> Path:
    """Give `path` a new content at once; its old file, under a name of its own."""
    with tempfile.NamedTemporaryFile(
        prefix=f".{path.name}.", dir=path.parent, delete=False
    ) as stream:
        fresh = Path(stream.name)
        try:
            fresh.chmod(stat.S_IMODE(path.stat().st_mode))
            write_whole(stream.fileno(), content)
            kept = _keep(path)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)
    return kept


def _keep(path: Path) -> Path:
    """Link the file under one more name: `STORE.old`, or `STORE.old-2` if that is taken."""
    number = 1
    while True:
        kept = path.with_name(f"{path.name}.old" + (f"-{number}" if number > 1 else ""))
        try:
            _link(path, kept)
        except FileExistsError:
            number += 1
        else:
            return kept


def _link(path: Path, kept: Path) -> None:
    """FileExistsError if the name is taken."""
    try:
        kept.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:  # a file system without second names
        with kept.open("xb") as stream:
            write_whole(stream.fileno(), path.read_bytes())
