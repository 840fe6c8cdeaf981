"""Which profiles of a store are meant."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import RequestError
from exporter.progress import Progress, silent
from profiles.schema import Profile
from profiles.store import Store

SHORTEST = 4
"""Digits of an id that are enough to name a profile."""


@dataclass(frozen=True)
class Filters:
    """Empty is any.

    Attributes:
        since: a day or time, ISO 8601; UTC where it has no zone.
    """

    device_class: str = ""
    device: str = ""
    variant: str = ""
    target: str = ""
    precision: str = ""
    since: str = ""

    def apply(self, profiles: Iterable[Profile]) -> list[Profile]:
        """Those that fit, in their order. RequestError for a `since` that is no time."""
        begin = parse_time(self.since) if self.since else None
        return [p for p in profiles if self._fits(p) and (begin is None or _created(p) >= begin)]

    def _fits(self, profile: Profile) -> bool:
        wanted = (
            (self.device_class, profile.device.device_class),
            (self.variant, profile.bundle.variant),
            (self.target, profile.bundle.target),
            (self.precision, profile.bundle.precision),
        )
        device = profile.device.device
        named = self.device in ("", device, device.partition(":")[2])
        return named and all(want in ("", have) for want, have in wanted)


def parse_time(text: str) -> datetime.datetime:
    """ISO 8601, UTC where it has no zone. RequestError if it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(f"--since takes a day as 2026-11-22 or a time, not {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def select(word: str, store: Store, report: Progress = silent) -> list[Profile]:
    """Find the profiles that `word` means: a store file, an id or its start, a label, a bundle.

    Of several measurements of the same bundle on the same device the latest is meant.

    Args:
        word: theirs.
        store: to look in, unless the word is a file.
        report: told of lines that were left out.

    Raises:
        RequestError: nothing or too much is called so.
    """
    path = Path(word)
    if path.is_file():
        return latest(Store(path).read(report))
    profiles = store.read(report)
    for found in (
        [p for p in profiles if p.id == word],
        [p for p in profiles if p.label and p.label == word],
        [p for p in profiles if p.bundle.name == path.name],
    ):
        if found:
            return latest(found)
    found = [p for p in profiles if len(word) >= SHORTEST and p.id.startswith(word)]
    if len(found) > 1:
        raise RequestError(
            f"{word!r} begins the ids {_names(p.id for p in found)}: give more of it"
        )
    if not found:
        raise RequestError(
            f"{word!r} is no store file, and no id, label or bundle in {store.path}; "
            "see sam-bench list"
        )
    return found


def latest(profiles: Iterable[Profile], *, each_delegate: bool = False) -> list[Profile]:
    """Choose the last profile of each bundle on each device, in order of time.

    Args:
        profiles: in order of time.
        each_delegate: the last by each delegate, so that they can stand side by side; those that
            were refused, too.
    """
    last: dict[tuple[str, ...], Profile] = {}
    for profile in profiles:
        if profile.refused and not each_delegate:
            continue
        device = profile.device
        delegate = profile.method.delegate if each_delegate else ""
        key = (profile.bundle.name, device.device, device.model, device.soc, delegate)
        last.pop(key, None)
        last[key] = profile
    return list(last.values())


def pairs(a: Sequence[Profile], b: Sequence[Profile]) -> list[tuple[Profile, Profile]]:
    """Which of A is to be compared with which of B.

    One with one; else the same bundle on the same device; else the same device alone.

    Raises:
        RequestError: nothing goes together, or it is not clear what.
    """
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    by_both = _matched(a, b, lambda p: (p.bundle.name, p.device.device))
    found = by_both or _matched(a, b, lambda p: (p.device.device,))
    if not found:
        raise RequestError(
            f"no profile of A ({_names(map(_title, a))}) goes with one of B "
            f"({_names(map(_title, b))}): give the ids of two that should be compared"
        )
    return found


def _matched(
    a: Sequence[Profile], b: Sequence[Profile], key: Callable[[Profile], tuple[str, ...]]
) -> list[tuple[Profile, Profile]]:
    """Those with equal keys; none where a key has several on one side."""
    ours, theirs = {key(p): p for p in a}, {key(p): p for p in b}
    if len(ours) < len(a) or len(theirs) < len(b):
        return []
    return [(ours[k], theirs[k]) for k in ours if k in theirs]


def _created(profile: Profile) -> datetime.datetime:
    return parse_time(profile.created)


def _title(profile: Profile) -> str:
    return f"{profile.bundle.name} on {profile.device.device}"


def _names(names: Iterable[str], most: int = 4) -> str:
    found = list(names)
    shown = ", ".join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
