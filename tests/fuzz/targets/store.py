"""The store of profiles: lines of JSON, read, shown, and mended by the next append."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from exporter.errors import RequestError
from profiles.numbers import statistics
from profiles.pages import pages
from profiles.store import Store
from profiles.tables import listing
from tests.fuzz.target import Target
from tests.unit.profile_making import profile

_NEW = profile(repeats=1, seed=7)


def _read(data: bytes, folder: Path) -> object:
    store = Store(folder / "profiles.jsonl")
    store.path.write_bytes(data)
    aside = store.path.with_name("profiles.jsonl.torn")
    aside.unlink(missing_ok=True)
    told: list[str] = []
    profiles = store.read(told.append)
    unfit = [line for line in told if not line.isprintable() or len(line) > 3000]
    if unfit:
        raise ValueError(f"told what cannot be shown: {unfit[0][:300]!r}")
    if store.path.read_bytes() != data:
        raise ValueError("reading changed the store")
    listing(profiles)
    # A thousand draws for each interval take a second, and no line is read by them.
    with mock.patch.object(statistics, "interval", return_value=(1.0, 2.0)):
        for page in pages().values() if profiles else ():
            page.render(profiles, "now")
    _append(store, len(profiles))
    return profiles


def _append(store: Store, before: int) -> None:
    """Append to it: nothing that was read is lost."""
    try:
        store.append(_NEW)
    except RequestError:
        if before:
            raise ValueError("a store that was read cannot be appended to") from None
        return
    after = store.read()
    if len(after) != before + 1 or after[-1] != _NEW:
        raise ValueError(f"{before} profiles and a new one became {len(after)}")


TARGET = Target(
    _read,
    # A mebibyte of 290 sound profiles is read twice, listed and drawn on every page: 0.9 s here.
    seconds=3.0,
    words=(
        b"\n",
        b"\r\n",
        b"\0" * 100,
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b'{"bundle":',
        b'"schema_version":3',
        b'"schema_version":2',
        b'"created":"2026-11-29T00:00:00+00:00"',
        b'"created":"yesterday"',
        b'"device_class":"phone"',
        b'"samples_ns":[]',
        b'"samples_ns":[1]',
        b'"session":null',
        b'"repeats":[]',
        b'"thermal_status":null',
        b"[" * 100,
        b'{"":' * 100,
        b"null",
        b"true",
        b"1e999",
        b"-0",
        b"NaN",
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\\u202e"',
        b"\x1b]0;",
    ),
)
