"""A device is found by its kind and name, or by its name alone."""

from __future__ import annotations

import pytest

from exporter.errors import RequestError
from profiles import kinds
from profiles.selection import Filters
from tests.unit.profile_making import profile

WIRELESS = "adb-X (2)._adb-tls-connect._tcp"


@pytest.fixture(autouse=True)
def stand_ins(tmp_path, monkeypatch):
    """An adb that lists two devices, and an emulator program with one AVD."""
    adb, emulator = tmp_path / "adb", tmp_path / "sdk/emulator/emulator"
    emulator.parent.mkdir(parents=True)
    rows = f"{WIRELESS} device model:A\\nhost device model:B\\n"
    adb.write_text(f"#!/bin/sh\nprintf 'List of devices attached\\n{rows}'\n")
    emulator.write_text("#!/bin/sh\necho Pixel_API_34\n")
    for program in (adb, emulator):
        program.chmod(0o755)
    monkeypatch.setenv("SAM_EXPORT_ADB", str(adb))
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))


@pytest.mark.parametrize(
    ("name", "kind", "identifier"),
    [
        ("host", "host", ""),
        ("android", "android", ""),
        (f"android:{WIRELESS}", "android", WIRELESS),
        (WIRELESS, "android", WIRELESS),
        ("android:host", "android", "host"),
        ("model:A", "android", "model:A"),
        ("10.0.0.5:5555", "android", "10.0.0.5:5555"),
        ("Pixel_API_34", "emulator", "Pixel_API_34"),
    ],
)
def test_the_kind_may_be_left_out(name, kind, identifier):
    found, rest = kinds.kind_of(name)
    assert (found.name, rest) == (kind, identifier)


def test_a_name_that_nothing_has_is_told_with_the_kinds():
    with pytest.raises(RequestError, match="unknown device 'R5'; choose from host, android"):
        kinds.kind_of("R5")


def test_a_kind_that_cannot_be_asked_says_why(monkeypatch):
    monkeypatch.setenv("SAM_EXPORT_ADB", "/no/adb")
    with pytest.raises(RequestError, match="android: /no/adb is not a program"):
        kinds.kind_of("R5CT1")


def test_filters_take_the_name_with_and_without_its_kind():
    made = [profile()]
    assert [len(Filters(device=name).apply(made)) for name in ("android:A1", "A1", "A2")] == [
        1,
        1,
        0,
    ]
