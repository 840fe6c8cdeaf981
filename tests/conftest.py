"""What holds for every test."""

from __future__ import annotations

import signal

import pytest


def pytest_configure() -> None:
    """What tests start heeds SIGHUP and SIGINT, whatever started the tests.

    `nohup` and a script's `&` make a process ignore them, and what is ignored stays so in all that
    it starts; what has a handler here has the default there.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nobodys_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test reaches adb only by the private server's environment, never by forgetting it."""
    monkeypatch.setenv("SAM_EXPORT_ADB", "/no/adb/for/a/test/without/a/server")
