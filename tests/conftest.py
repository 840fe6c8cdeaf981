"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nobodys_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test reaches adb only by the private server's environment, never by forgetting it."""
    monkeypatch.setenv("SAM_EXPORT_ADB", "/no/adb/for/a/test/without/a/server")
